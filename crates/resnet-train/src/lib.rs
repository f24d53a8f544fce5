//! Data, recipes, training.
