//! Changing fields by their dotted path, and comparing recipes.

use toml::{Table, Value};

use super::Recipe;
use crate::{Error, Result};

/// Tables whose `name` decides which other fields there are.
const NAMED: [&str; 2] = ["optimizer.name", "schedule.name"];

/// Fields that do not change the result: these paths and all below them.
const FREE: [&str; 3] = ["run", "data.path", "data.dir"];

impl Recipe {
    /// Sets a field by its path: `set("optimizer.lr", "0.05")`. The value is TOML, or a text without quotes;
    /// `none` takes an optional field away.
    ///
    /// Setting `optimizer.name` or `schedule.name` to another name starts that table afresh, with the defaults of the new one.
    /// The recipe as a whole is not checked: see [`Recipe::validate`].
    ///
    /// # Errors
    /// [`Error::Recipe`] naming the field, what was found and what was wanted.
    pub fn set(&mut self, path: &str, value: &str) -> Result<()> {
        let refuse = |why: String| Error::recipe(format!("{path}={value}"), why);
        let parsed = parse(value);
        let typed = self.with(path, parsed.clone());
        // What reads as a number may be meant as a text: a directory called 2024.
        let made = match (typed, parsed) {
            (Err(why), Some(Value::String(_)) | None) => Err(why),
            (Err(why), Some(_)) => self.with(path, Some(Value::String(value.to_owned()))).map_err(|_| why),
            (made, _) => made,
        };
        *self = made.map_err(refuse)?;
        Ok(())
    }

    /// Applies overrides, each `path=value`, names of optimizer and schedule first, and checks the result.
    ///
    /// # Errors
    /// [`Error::Recipe`], as [`Recipe::set`] and [`Recipe::validate`].
    pub fn apply<S: AsRef<str>>(&mut self, overrides: &[S]) -> Result<()> {
        let mut pairs = vec![];
        for text in overrides.iter().map(AsRef::as_ref) {
            let pair = text.split_once('=').map(|(path, value)| (path.trim(), value.trim()));
            pairs.push(
                pair.ok_or_else(|| Error::recipe(text, "an override has the form `table.field=value`"))?,
            );
        }
        pairs.sort_by_key(|(path, _)| !NAMED.contains(path)); // stable: the order within each half stays
        for (path, value) in pairs {
            self.set(path, value)?;
        }
        self.validate()
    }

    /// Fields that decide the result and differ: `optimizer.lr: 0.1, 0.05 in the other`.
    pub fn differences(&self, other: &Self) -> Result<Vec<String>> {
        let (ours, theirs) = (self.table()?, other.table()?);
        let mut found = vec![];
        compare("", &Value::Table(ours), &Value::Table(theirs), &mut found);
        Ok(found)
    }

    fn table(&self) -> Result<Table> {
        Table::try_from(self).map_err(|e| Error::recipe("recipe", e.to_string()))
    }

    fn with(&self, path: &str, value: Option<Value>) -> Result<Self, String> {
        let mut root = self.table().map_err(|e| e.to_string())?;
        let (parents, field) = path.rsplit_once('.').unwrap_or(("", path));
        let mut table = &mut root;
        for parent in parents.split('.').filter(|p| !p.is_empty()) {
            let below = table.entry(parent).or_insert_with(|| Value::Table(Table::new()));
            table = below.as_table_mut().ok_or_else(|| format!("`{parent}` is a field, not a table"))?;
        }
        match value {
            Some(value) => {
                if NAMED.contains(&path) && table.get(field) != Some(&value) {
                    table.clear();
                }
                table.insert(field.to_owned(), value);
            }
            None => {
                table.remove(field);
            }
        }
        Value::Table(root).try_into().map_err(|e: toml::de::Error| e.message().to_owned())
    }
}

/// `none` is no value; what is no TOML is a text.
fn parse(text: &str) -> Option<Value> {
    if text == "none" {
        return None;
    }
    let table = toml::from_str::<Table>(&format!("v = {text}")).ok().filter(|t| t.len() == 1);
    Some(table.and_then(|mut t| t.remove("v")).unwrap_or_else(|| Value::String(text.to_owned())))
}

fn compare(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    if FREE.contains(&path) || ours == theirs {
        return;
    }
    let (Value::Table(a), Value::Table(b)) = (ours, theirs) else {
        return found.push(format!("{path}: {ours}, {theirs} in the other"));
    };
    let absent = Value::String("none".into());
    let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for key in keys {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        compare(&below, a.get(key).unwrap_or(&absent), b.get(key).unwrap_or(&absent), found);
    }
}
