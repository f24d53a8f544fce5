//! What was found in a set, for people and for programs.

use std::path::Path;

use resnet_train::data::{ChannelStats, Dataset, Duplicate, PartSurvey, Survey};
use serde_json::{Value, json};

use super::{number, table};

/// Longest bar, in characters.
const BAR: usize = 30;
/// Classes, files or groups that are listed for people; `--json` has all.
const N_LISTED: usize = 40;
const N_NAMED: usize = 8;
/// Borders of the histogram of shorter sides.
const SIDES: [usize; 8] = [32, 64, 128, 224, 256, 512, 1024, 2048];

/// Everything as JSON.
pub(crate) fn json(data: &Dataset, found: &Survey, stats: Option<&ChannelStats>) -> Value {
    let part = |p: &PartSurvey| {
        let sizes = p.sizes.iter().map(|((h, w), n)| json!({"height": h, "width": w, "count": n}));
        let broken = p.broken.iter().map(|(name, why)| json!({"picture": name, "why": why}));
        json!({
            "count": p.per_class.iter().sum::<usize>(),
            "per_class": p.per_class,
            "sizes": sizes.collect::<Vec<_>>(),
            "broken": broken.collect::<Vec<_>>(),
        })
    };
    let group = |d: &Duplicate| {
        let one = |(is_test, name, label): &(bool, String, u32)| {
            let part = if *is_test { "test" } else { "train" };
            json!({"part": part, "picture": name, "class": data.classes[*label as usize]})
        };
        let pictures: Vec<Value> = d.pictures.iter().map(one).collect();
        json!({"in_both_parts": d.is_leak(), "different_classes": d.is_contradiction(), "pictures": pictures})
    };
    json!({
        "name": data.name,
        "origin": data.origin,
        "classes": data.classes,
        "channels": data.channels,
        "train": part(&found.train),
        "test": part(&found.test),
        "duplicates": found.duplicates.iter().map(group).collect::<Vec<_>>(),
        "mean": stats.map(|s| &s.mean),
        "std": stats.map(|s| &s.std),
    })
}

/// Classes, sizes, what is wrong, mean and standard deviation. Pictures are named as below `root`.
pub(crate) fn text(
    data: &Dataset,
    found: &Survey,
    stats: Option<&ChannelStats>,
    root: Option<&Path>,
) -> String {
    let mut parts = vec![classes(data, found), sizes(found)];
    parts.push(broken(found, root));
    parts.push(duplicates(data, found, root));
    if let Some(stats) = stats {
        let list = |v: &[f32]| v.iter().map(|x| format!("{x:.4}")).collect::<Vec<_>>().join(" ");
        parts.push(format!("mean         {}\nstd          {}", list(&stats.mean), list(&stats.std)));
    }
    parts.retain(|p| !p.is_empty());
    format!("\n{}", parts.join("\n\n"))
}

/// A bar as long as its share of the longest.
fn bar(n: usize, longest: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (n * BAR * 8).div_ceil(longest.max(1));
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

fn classes(data: &Dataset, found: &Survey) -> String {
    let count = |i: usize| (found.train.per_class[i], found.test.per_class[i]);
    let longest = (0..data.n_classes()).map(|i| count(i).0 + count(i).1).max().unwrap_or(0);
    let mut t = table::with_header(&["", "class", "train", "test", "pictures"]);
    for (i, name) in data.classes.iter().enumerate().take(N_LISTED) {
        let (train, test) = count(i);
        t.add_row([
            i.to_string(),
            name.clone(),
            number::grouped(train as u64),
            number::grouped(test as u64),
            bar(train + test, longest),
        ]);
    }
    let more = data.n_classes().saturating_sub(N_LISTED);
    let rest = if more > 0 { format!("\nand {more} more classes; --json lists all") } else { String::new() };
    table::right_aligned(t, &[0, 2, 3]) + &rest
}

fn sizes(found: &Survey) -> String {
    let mut all: Vec<((usize, usize), usize)> = vec![];
    for (size, n) in found.train.sizes.iter().chain(&found.test.sizes) {
        all.push((*size, *n));
    }
    if all.is_empty() {
        return String::new();
    }
    let first = all[0].0;
    if all.iter().all(|(size, _)| *size == first) {
        return format!("sizes        all {}×{} pixels", first.0, first.1);
    }
    let place = |side: usize| SIDES.iter().filter(|border| side >= **border).count();
    let mut counts = [0; SIDES.len() + 1];
    all.iter().for_each(|((h, w), n)| counts[place(*h.min(w))] += n);
    let longest = counts.iter().copied().max().unwrap_or(0);
    let used = counts.iter().position(|n| *n > 0).zip(counts.iter().rposition(|n| *n > 0));
    let (low, high) = used.unwrap_or((0, 0));
    let mut t = table::with_header(&["shorter side", "pictures", ""]);
    for i in low..=high {
        let range = match i {
            0 => format!("under {}", SIDES[0]),
            i if i == SIDES.len() => format!("{} and more", SIDES[i - 1]),
            i => format!("{} to {}", SIDES[i - 1], SIDES[i] - 1),
        };
        t.add_row([range, number::grouped(counts[i] as u64), bar(counts[i], longest)]);
    }
    let by_area = |(size, _): &&((usize, usize), usize)| size.0 * size.1;
    let (small, large) = (all.iter().min_by_key(by_area), all.iter().max_by_key(by_area));
    let extremes = small
        .zip(large)
        .map(|(s, l)| format!("\nfrom {}×{} to {}×{} pixels (height × width)", s.0.0, s.0.1, l.0.0, l.0.1));
    table::right_aligned(t, &[1]) + &extremes.unwrap_or_default()
}

/// A picture's name without what all of them begin with.
fn below<'a>(root: Option<&Path>, name: &'a str) -> &'a str {
    let Some(root) = root.and_then(Path::to_str) else { return name };
    name.strip_prefix(root).unwrap_or(name).trim_start_matches(['/', '\\', ':', ' '])
}

fn broken(found: &Survey, root: Option<&Path>) -> String {
    let all: Vec<&(String, String)> = found.train.broken.iter().chain(&found.test.broken).collect();
    let named = |(name, why): &&(String, String)| format!("  {}: {why}", below(root, name));
    listed("broken", &all.iter().map(named).collect::<Vec<_>>(), "none")
}

fn duplicates(data: &Dataset, found: &Survey, root: Option<&Path>) -> String {
    let group = |d: &Duplicate| {
        let mark = match (d.is_leak(), d.is_contradiction()) {
            (true, true) => "in both parts, with different classes: ",
            (true, false) => "in both parts: ",
            (false, true) => "with different classes: ",
            (false, false) => "",
        };
        let name = |(_, name, label): &(bool, String, u32)| match d.is_contradiction() {
            true => format!("{} ({})", below(root, name), data.classes[*label as usize]),
            false => below(root, name).to_owned(),
        };
        format!("  {mark}{}", d.pictures.iter().map(name).collect::<Vec<_>>().join(" = "))
    };
    // What spoils a test comes first.
    let mut sorted: Vec<&Duplicate> = found.duplicates.iter().collect();
    sorted.sort_by_key(|d| (!d.is_leak(), !d.is_contradiction()));
    let text = listed("equal", &sorted.into_iter().map(group).collect::<Vec<_>>(), "no two pictures");
    match found.n_leaks() {
        0 => text,
        n => format!("{text}\n  {n} of them in both parts: a test with these says too much"),
    }
}

/// A heading with the number, and the first few lines.
fn listed(what: &str, lines: &[String], none: &str) -> String {
    if lines.is_empty() {
        return format!("{what:12} {none}");
    }
    let more = lines.len().saturating_sub(N_NAMED);
    let rest = if more > 0 { format!("\n  and {more} more; --json lists all") } else { String::new() };
    let shown: Vec<&str> = lines.iter().take(N_NAMED).map(String::as_str).collect();
    format!("{what:12} {}\n{}{rest}", number::grouped(lines.len() as u64), shown.join("\n"))
}
