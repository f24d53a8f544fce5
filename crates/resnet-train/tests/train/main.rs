//! Recipes, schedules, checkpoints and the training loop.
#![allow(clippy::unwrap_used)] // helpers outside of test functions

mod evaluate;
mod finetune;
mod memory_fs;
mod recipe;
mod resume;
mod schedule;
mod store;
mod tiny;
mod trainer;
