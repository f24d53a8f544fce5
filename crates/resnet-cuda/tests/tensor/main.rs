//! Convolutions on tensor cores, run by the emulator, against plain loops in f64.
//!
//! # Bounds
//! Inputs are multiples of 1/64 below 2 in size, which bf16, f16 and tf32 all hold exactly, so the bounds have three parts:
//! - an operand that a prologue evaluates is rounded to f32 after each fused operation and then to the element type;
//! - a product of two elements is exact, and each of the additions that a term passes errs by at most one unit in the last place of
//!   f32, because tensor cores truncate: `γ` with `2⁻²³` in place of the unit roundoff (Higham, section 3.1, for any order);
//! - what is written is rounded to the element type once.

mod backward_data;
mod backward_weight;
mod cases;
mod forward;
mod lab;
mod near;
