//! Recipes, schedules, checkpoints and the training loop.

mod evaluate;
mod memory_fs;
mod recipe;
mod resume;
mod schedule;
mod store;
mod tiny;
mod trainer;
