//! The same file and seed give the same bytes, on a second run and with another number of threads.

use super::{Bench, SMALL, results, succeeded};

#[test]
fn models_and_metrics_are_byte_identical() {
    let bench = Bench::new(&format!(
        "{SMALL}\n[steps.transfer.sweep]\nstrategy = [\"parameter\", \"feature\", \"structure\"]\n"
    ));
    let run = |out: &str, threads: &str| {
        succeeded(&bench.command(out, &[]).env("RAYON_NUM_THREADS", threads).output().unwrap());
        results(&bench.out(out))
    };
    let first = run("first", "1");
    for (out, threads) in [("again", "1"), ("two", "2")] {
        let (models, metrics) = run(out, threads);
        assert_eq!(metrics, first.1, "{out}");
        for ((path, bytes), (_, expected)) in models.iter().zip(&first.0) {
            assert!(bytes == expected, "{} differs with {threads} threads", path.display());
        }
        assert_eq!(models.len(), first.0.len());
    }
    let other = bench.run("seeded", &["--seed", "5"]);
    assert_ne!(results(&other).1, first.1, "another seed is another run");
}
