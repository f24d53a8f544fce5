//! How a step scales with threads.

use std::fmt::Write;

use super::report::{Row, fastest, others};

/// Every case and framework with each number of threads, against the first number; the tables are in the order of the threads.
pub(crate) fn table(tables: &[(usize, Vec<Row>)]) -> String {
    let mut out = String::from("| case | program |");
    let [(first_threads, first_rows), more @ ..] = tables else { return String::new() };
    // Writing into a `String` cannot fail.
    let _ = write!(out, " {first_threads} thread{}, s |", super::report::plural(*first_threads));
    for (threads, _) in more {
        let _ = write!(out, " {threads} threads, s | times faster | of ideal |");
    }
    let _ = writeln!(out, "\n|---|---|--:|{}", "--:|--:|--:|".repeat(more.len()));
    for (i, Row { case, timings }) in first_rows.iter().enumerate() {
        for name in ["resnet"].into_iter().chain(others(first_rows)) {
            let Some(alone) = fastest(timings, name) else { continue };
            let _ = write!(out, "| {case} | {name} | {:.4} |", alone.median_s);
            for (threads, rows) in more {
                match rows.get(i).and_then(|row| fastest(&row.timings, name)) {
                    Some(times) => {
                        let faster = alone.median_s / times.median_s;
                        let ideal = *threads as f64 / *first_threads as f64;
                        let share = 100.0 * faster / ideal;
                        let _ = write!(out, " {:.4} | {faster:.2} | {share:.0} % |", times.median_s);
                    }
                    None => out.push_str(" – | – | – |"),
                }
            }
            out.push('\n');
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::case::Case;
    use crate::bench::contenders::Part;
    use crate::bench::measure::{Times, Timing};

    #[test]
    fn twice_the_threads_and_how_far_from_twice_as_fast() {
        let row = |median_s| {
            let case = Case::small();
            let times = Times {
                rounds: 1,
                median_s,
                min_s: median_s,
                images_per_s: 1.0,
                peak_rss_bytes: None,
                compile_s: None,
            };
            vec![Row {
                case,
                timings: vec![Timing { name: "resnet".into(), part: Part::Ours, times: Ok(times) }],
            }]
        };
        let text = table(&[(1, row(3.0)), (2, row(2.0))]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "| case | program | 1 thread, s | 2 threads, s | times faster | of ideal |");
        assert!(lines[2].ends_with("| resnet | 3.0000 | 2.0000 | 1.50 | 75 % |"), "{}", lines[2]);
    }
}
