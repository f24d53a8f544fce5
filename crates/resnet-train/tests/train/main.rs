//! Recipes, schedules, checkpoints and the training loop.

mod memory_fs;
mod recipe;
mod schedule;
mod store;
