//! Whole pipeline files, each as wide as a part of the design asks for, run through the program.

mod adaptation;
mod several;
mod tasks;
mod without_labels;

use std::fmt::Write as _;

use rand::Rng;
use transplant_core::Seeds;
use transplant_tests::normal;

use crate::program::Bench;

/// 400 points, each in two domains under one `id`. The first number tells the class everywhere; the second tells it
/// better in the domain `near` and not at all in `far`.
fn points(relabelled: impl Fn(&str, &str) -> bool) -> String {
    let mut rng = Seeds::new(6).stream("points", &[]);
    let mut csv = String::from("id,domain,first,second,class\n");
    for id in 0..400 {
        let class = rng.random_range(0..2u32);
        let side = class as f32 * 2.0 - 1.0;
        for domain in ["near", "far"] {
            let first = side + 0.3 * normal(&mut rng);
            let second = if domain == "near" { 2.0 * side } else { 3.0 } + 0.2 * normal(&mut rng);
            let class = if relabelled(domain, &id.to_string()) { 1 - class } else { class };
            let _ = writeln!(csv, "{id},{domain},{first},{second},{}", ["no", "yes"][class as usize]);
        }
    }
    csv
}

/// A pipeline file beside its points.
fn bench(pipeline: &str, points: &str) -> Bench {
    let bench = Bench::new(pipeline);
    std::fs::write(bench.file().with_file_name("points.csv"), points).unwrap();
    bench
}
