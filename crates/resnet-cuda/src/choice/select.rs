//! The fastest of several ways: warm-up, repeats, the median.

/// What was found out about one candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Its place in the list of candidates.
    pub index: usize,
    /// Median over the repeats, in milliseconds.
    pub ms: f32,
}

/// How often the candidate is timed after the warm-up.
const REPEATS: usize = 5;

/// A candidate whose first timed run takes so many times the best median is not run again.
const HOPELESS: f32 = 3.0;

/// What is tried: candidates by their numbers. Errors are texts for people.
pub trait Trial {
    /// Runs a candidate for the first time: plans are made, kernels loaded, results compared.
    ///
    /// # Errors
    /// Why it cannot be taken.
    fn warm_up(&mut self, index: usize) -> Result<(), String>;

    /// Milliseconds of one run.
    ///
    /// # Errors
    /// Why it cannot be taken.
    fn time(&mut self, index: usize) -> Result<f32, String>;
}

/// Runs `n` candidates and takes the one with the smallest median; the earlier one if two are equal.
/// A candidate that fails is left out and named with the reason.
pub fn fastest(n: usize, trial: &mut impl Trial) -> (Option<Measured>, Vec<(usize, String)>) {
    let mut best: Option<Measured> = None;
    let mut refused = Vec::new();
    for index in 0..n {
        let limit = best.as_ref().map_or(f32::INFINITY, |best| best.ms * HOPELESS);
        match trial.warm_up(index).and_then(|()| median(|| trial.time(index), limit)) {
            Err(why) => refused.push((index, why)),
            Ok(ms) if best.as_ref().is_none_or(|best| ms < best.ms) => best = Some(Measured { index, ms }),
            Ok(_) => {}
        }
    }
    (best, refused)
}

fn median(mut time: impl FnMut() -> Result<f32, String>, limit: f32) -> Result<f32, String> {
    let mut times = vec![time()?];
    while times.len() < REPEATS && times[0] <= limit {
        times.push(time()?);
    }
    times.sort_by(f32::total_cmp);
    Ok(times[times.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times of each candidate, in the order in which they are taken; one without is refused.
    struct Times<'a> {
        times: &'a [&'a [f32]],
        runs: Vec<usize>,
    }

    impl Trial for Times<'_> {
        fn warm_up(&mut self, index: usize) -> Result<(), String> {
            if self.times[index].is_empty() { Err("refused".to_owned()) } else { Ok(()) }
        }
        fn time(&mut self, index: usize) -> Result<f32, String> {
            self.runs[index] += 1;
            self.times[index].get(self.runs[index] - 1).copied().ok_or_else(|| "failed".to_owned())
        }
    }

    fn run(times: &[&[f32]]) -> (Option<Measured>, Vec<(usize, String)>, Vec<usize>) {
        let mut trial = Times { times, runs: vec![0; times.len()] };
        let (best, refused) = fastest(times.len(), &mut trial);
        (best, refused, trial.runs)
    }

    #[test]
    fn the_median_decides_and_one_slow_run_does_not() {
        let (best, refused, runs) = run(&[&[2.0; 5], &[1.0, 1.5, 9.0, 1.4, 8.0], &[1.4, 1.6, 1.6, 1.7, 1.3]]);
        assert_eq!((best, refused), (Some(Measured { index: 1, ms: 1.5 }), vec![]));
        assert_eq!(runs, [5, 5, 5]);
    }

    #[test]
    fn failures_are_left_out_and_the_hopeless_are_cut_short() {
        let (best, refused, runs) = run(&[&[], &[4.0; 5], &[1.0; 5], &[3.5; 5], &[0.5, 0.5]]);
        assert_eq!(best, Some(Measured { index: 2, ms: 1.0 }));
        assert_eq!(refused, [(0, "refused".to_owned()), (4, "failed".to_owned())]);
        assert_eq!(runs, [0, 5, 5, 1, 3]);
        assert_eq!(run(&[&[]]).0, None);
    }
}
