//! The learning rate, against its formulas.

use resnet_train::schedule::{Constant, Cosine, Horizon, Schedule, Step};

const HORIZON: Horizon = Horizon { steps_per_epoch: 10, total_steps: 100 };

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} is not {b}");
}

#[test]
fn warm_up_rises_linearly_to_the_peak() {
    let schedules = [
        Schedule::Constant(Constant { warmup_epochs: 0.5 }),
        Schedule::Step(Step { warmup_epochs: 0.5, ..Step::default() }),
        Schedule::Cosine(Cosine { warmup_epochs: 0.5, final_factor: 0.0 }),
    ];
    for schedule in schedules {
        for step in 0..5 {
            close(schedule.lr(0.2, step, HORIZON), 0.2 * (step + 1) as f64 / 5.0);
        }
        close(schedule.lr(0.2, 5, HORIZON), 0.2);
    }
}

#[test]
fn constant_stays() {
    let schedule = Schedule::Constant(Constant::default());
    assert!((0..100).all(|step| schedule.lr(0.1, step, HORIZON) == 0.1));
}

#[test]
fn step_falls_at_its_milestones() {
    let schedule = Schedule::Step(Step { warmup_epochs: 0.0, milestones: vec![3.0, 7.5], factor: 0.1 });
    for (step, wanted) in [(0, 1.0), (29, 1.0), (30, 0.1), (74, 0.1), (75, 0.01), (99, 0.01)] {
        close(schedule.lr(1.0, step, HORIZON), wanted);
    }
}

#[test]
fn cosine_falls_from_peak_to_end() {
    let schedule = Schedule::Cosine(Cosine { warmup_epochs: 2.0, final_factor: 0.1 });
    close(schedule.lr(1.0, 20, HORIZON), 1.0);
    close(schedule.lr(1.0, 60, HORIZON), 0.55);
    close(schedule.lr(1.0, 100, HORIZON), 0.1);
    close(schedule.lr(1.0, 1000, HORIZON), 0.1);
    let rates: Vec<f64> = (19..100).map(|step| schedule.lr(1.0, step, HORIZON)).collect();
    assert!(rates.windows(2).all(|w| w[1] <= w[0]));
}

#[test]
fn a_run_shorter_than_its_warm_up_is_fine() {
    let schedule = Schedule::Cosine(Cosine { warmup_epochs: 20.0, final_factor: 0.0 });
    close(schedule.lr(1.0, 99, HORIZON), 0.5);
}
