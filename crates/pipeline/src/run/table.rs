//! The tables at the end of a run, for the report and for the terminal.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::{Comparison, label};
use super::record::Metrics;
use crate::resolved::TEST;

/// A table of text; the first row is its head.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Table {
    /// The step that it is about.
    pub step: String,
    /// The test that it is about.
    pub test: String,
    /// What it shows.
    pub title: String,
    /// Head and rows, each as long as the head.
    pub rows: Vec<Vec<String>>,
}

/// The main table of each step: one line a strategy, by the metric that judges the step. `baselines` holds what baselines
/// without a network score, by step and baseline; `not_fitted` those that could not be fitted, and why.
pub(crate) fn tables(
    comparison: &[Comparison],
    main: &BTreeMap<String, String>,
    baselines: &BTreeMap<String, BTreeMap<String, Metrics>>,
    not_fitted: &BTreeMap<String, BTreeMap<String, String>>,
) -> Vec<Table> {
    let mut shown: Vec<(&str, &str)> = Vec::new();
    for c in comparison.iter().filter(|c| main.get(&c.step) == Some(&c.metric)) {
        if !shown.contains(&(&c.step, &c.split)) {
            shown.push((&c.step, &c.split));
        }
    }
    let of = |(step, test): &(&str, &str)| {
        let is = |c: &&Comparison| c.step == *step && c.split == *test && main.get(*step) == Some(&c.metric);
        let lines: Vec<_> = comparison.iter().filter(is).collect();
        // Baselines are fitted for the test that the step is judged by.
        let judged =
            lines.iter().any(|c| !c.baselines.is_empty()) || shown.iter().filter(|s| s.0 == *step).count() == 1;
        let of_baseline = |(name, m): (&String, &Metrics)| Some((name.clone(), *m.get(main.get(*step)?)?));
        let baselines: Vec<_> =
            baselines.get(*step).into_iter().flatten().filter(|_| judged).filter_map(of_baseline).collect();
        let not_fitted: Vec<_> = not_fitted.get(*step).into_iter().flatten().filter(|_| judged).collect();
        table((step, test), &lines, &baselines, &not_fitted)
    };
    shown.iter().map(of).collect()
}

fn table(
    (step, test): (&str, &str),
    lines: &[&Comparison],
    baselines: &[(String, f64)],
    not_fitted: &[(&String, &String)],
) -> Table {
    let metric = lines.first().map(|c| c.metric_name()).unwrap_or_default();
    let all: BTreeSet<&String> = lines.iter().filter_map(|c| c.paired.as_ref()).map(|p| &p.against).collect();
    // Where swept values are compared among themselves, each line has its own.
    let against = match all.len() {
        0 | 1 => all.first().map(|a| (*a).clone()),
        _ => Some("the reference of the row".to_owned()),
    };
    let mut head = vec!["strategy".to_owned(), metric.clone(), "95 % interval".into(), "runs".into()];
    if let Some(against) = &against {
        head.extend([format!("difference to {against}"), "95 % interval".into(), "p (Holm)".into()]);
    }
    let flags: Vec<String> = lines.iter().map(|c| flags(c)).collect();
    let width = head.len();
    if against.is_some() || flags.iter().any(|f| !f.is_empty()) || !not_fitted.is_empty() {
        head.push(String::new());
    }
    let columns = head.len();
    let mut rows = vec![head];
    for (c, flags) in lines.iter().zip(flags) {
        let mut row = vec![label(&c.strategy, &c.swept), number(c.mean), interval(c.ci95), c.runs.to_string()];
        if let Some(p) = &c.paired {
            let of = if all.len() > 1 { format!(" ({})", p.against) } else { String::new() };
            row.extend([signed(p.difference) + &of, signed_interval(p.ci95), chance(p.p_holm)]);
        }
        row.resize(width, String::new());
        row.extend((columns > width).then_some(flags));
        rows.push(row);
    }
    for (name, m) in baselines {
        let mut row = vec![name.clone(), number(*m)];
        row.resize(columns, String::new());
        rows.push(row);
    }
    for (name, why) in not_fitted {
        let fitted_elsewhere = baselines.iter().any(|(baseline, _)| baseline == *name);
        let what = if fitted_elsewhere { format!("{name}, in some runs") } else { (*name).clone() };
        let mut row = vec![what, number(f64::NAN)];
        row.resize(columns - 1, String::new());
        row.push(format!("not fitted: {why}"));
        rows.push(row);
    }
    let on = if test == TEST { "test".to_owned() } else { format!("test `{test}`") };
    Table { step: step.to_owned(), test: test.to_owned(), title: format!("{step}: {metric} on {on}"), rows }
}

/// What there is to say against a strategy: it has learned from what it is tested on, or does worse than a control or
/// than a baseline without a network, as far as the interval of the difference says so; or against its interval or its runs.
fn flags(c: &Comparison) -> String {
    let leaks = (c.leaked > 0).then(|| format!("had learned {} test rows", c.leaked));
    let negative = c.paired.as_ref().is_some_and(|p| p.negative).then(|| "negative transfer".to_owned());
    let below = c.baselines.iter().find(|p| p.worse).map(|p| {
        let point = if p.ci95.is_none() { " (point estimate)" } else { "" };
        format!("below {}{point}", p.baseline)
    });
    leaks.into_iter().chain(negative).chain(below).chain(c.few()).chain(c.repeats()).collect::<Vec<_>>().join(", ")
}

impl Table {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let line =
            |row: &Vec<String>| format!("| {} |\n", row.iter().map(|c| in_cell(c)).collect::<Vec<_>>().join(" | "));
        let mut out = String::new();
        for (i, row) in self.rows.iter().enumerate() {
            out.push_str(&line(row));
            if i == 0 {
                let rule = |c: usize| if c == 0 { "---" } else { "--:" };
                out.push_str(&line(&(0..row.len()).map(|c| rule(c).to_owned()).collect()));
            }
        }
        out
    }

    /// In columns for a terminal.
    pub fn plain(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |c: usize| self.rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = format!("{}\n", self.title);
        for (i, row) in self.rows.iter().enumerate() {
            let left = |c: usize| c == 0 || self.rows[0][c].is_empty();
            let cell = |(c, text): (usize, &String)| {
                if left(c) { format!("{text:<w$}", w = widths[c]) } else { format!("{text:>w$}", w = widths[c]) }
            };
            let line = row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ");
            out.push_str(&format!("  {}\n", line.trim_end()));
            if i == 0 {
                let rule = widths.iter().map(|w| "─".repeat(*w)).collect::<Vec<_>>().join("  ");
                out.push_str(&format!("  {}\n", rule.trim_end()));
            }
        }
        out
    }
}

/// A text as it stands in a cell of a Markdown table: what would end the cell or the row is escaped.
pub(crate) fn in_cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r', '\t'], " ")
}

/// Three digits after the point.
pub(crate) fn number(v: f64) -> String {
    if v.is_finite() { format!("{v:.3}") } else { "–".to_owned() }
}

fn signed(v: f64) -> String {
    if v.is_finite() { format!("{v:+.3}") } else { "–".to_owned() }
}

fn interval(ends: [f64; 2]) -> String {
    both(ends, number)
}

fn signed_interval(ends: [f64; 2]) -> String {
    both(ends, signed)
}

fn both(ends: [f64; 2], shown: fn(f64) -> String) -> String {
    let [low, high] = ends.map(shown);
    if ends.iter().all(|end| end.is_finite()) { format!("[{low}, {high}]") } else { shown(f64::NAN) }
}

fn chance(p: Option<f64>) -> String {
    match p {
        None => "–".to_owned(),
        Some(p) if p < 0.001 => "< 0.001".to_owned(),
        Some(p) => format!("{p:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::compare::{AgainstBaseline, Paired};

    fn line(strategy: &str, mean: f64, paired: Option<f64>) -> Comparison {
        let paired = paired.map(|difference| Paired {
            against: "structure".into(),
            control: true,
            difference,
            ci95: [difference - 0.1, difference + 0.1],
            runs: 9,
            p: Some(0.0004),
            p_holm: Some(0.0008),
            negative: difference + 0.1 < 0.0,
        });
        Comparison {
            step: "transfer".into(),
            strategy: strategy.into(),
            swept: BTreeMap::new(),
            metric: "accuracy".into(),
            class: None,
            split: "test".into(),
            mean,
            ci95: [mean - 0.02, mean + 0.02],
            groups: None,
            rows: 1000,
            runs: 9,
            repetitions: 9,
            repeated: 0,
            higher_is_better: true,
            leaked: 0,
            paired,
            baselines: Vec::new(),
        }
    }

    /// The same beside a baseline that scores so much.
    fn beside(line: Comparison, baseline: &str, score: f64) -> Comparison {
        let difference = line.mean - score;
        let ci95 = Some([difference - 0.02, difference + 0.02]);
        let baselines =
            vec![AgainstBaseline { baseline: baseline.into(), difference, ci95, worse: difference + 0.02 < 0.0 }];
        Comparison { baselines, ..line }
    }

    fn baselines(scores: &[(&str, f64)]) -> BTreeMap<String, BTreeMap<String, Metrics>> {
        let one = |(name, m): &(&str, f64)| ((*name).to_owned(), Metrics::from([("accuracy".to_owned(), *m)]));
        BTreeMap::from([("transfer".to_owned(), scores.iter().map(one).collect())])
    }

    #[test]
    fn names_do_not_break_a_table() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let table = Table { rows: vec![row(["a|b", "c\nd"]), row(["<e>", "\"f\", g"])], ..Table::default() };
        assert_eq!(table.markdown(), "| a\\|b | c d |\n| --- | --: |\n| &lt;e> | \"f\", g |\n");
    }

    #[test]
    fn a_metric_names_the_class_it_is_about() {
        let mut c = Comparison { class: Some("defect".into()), ..line("feature", 0.5, None) };
        assert_eq!(c.metric_name(), "accuracy of `defect`");
        c.metric = "average_precision_defect".into();
        assert_eq!(c.metric_name(), "average_precision_defect");
    }

    #[test]
    fn unfitted_baselines_are_rows() {
        let main = BTreeMap::from([("transfer".to_owned(), "accuracy".to_owned())]);
        let why = BTreeMap::from([("TF-IDF".to_owned(), "no word".to_owned())]);
        let not_fitted = BTreeMap::from([("transfer".to_owned(), why)]);
        let tables = tables(&[line("feature", 0.5, None)], &main, &baselines(&[]), &not_fitted);
        assert!(tables[0].plain().lines().any(|l| l.starts_with("  TF-IDF") && l.ends_with("not fitted: no word")));
    }

    #[test]
    fn a_table_shows_differences_and_flags_what_is_worse() {
        let lines =
            [line("parameter", 0.8, Some(0.25)), line("frozen", 0.4, Some(-0.15)), line("structure", 0.55, None)];
        let lines = lines.map(|line| beside(line, "1-NN on inputs", 0.6));
        let main = BTreeMap::from([("transfer".to_owned(), "accuracy".to_owned())]);
        let none = BTreeMap::new();
        let tables = tables(&lines, &main, &baselines(&[("majority class", 0.101), ("1-NN on inputs", 0.6)]), &none);
        assert_eq!(tables.len(), 1);
        let text = tables[0].plain();
        assert!(text.starts_with("transfer: accuracy on test\n"), "{text}");
        assert!(text.contains("+0.250  [+0.150, +0.350]   < 0.001"), "{text}");
        assert!(
            text.lines().any(|l| l.contains("frozen") && l.ends_with("negative transfer, below 1-NN on inputs")),
            "{text}"
        );
        assert!(text.lines().any(|l| l.contains("structure") && l.ends_with("  below 1-NN on inputs")), "{text}");
        assert!(!text.lines().any(|l| l.contains("parameter") && l.contains("below")), "{text}");
        assert!(text.contains("majority class"), "{text}");
        // A strategy that stands alone is flagged, too, and one that loses to nobody needs no column.
        let baseline = "1-NN on inputs";
        let alone = |score: f64| {
            super::tables(
                &[beside(line("feature", 0.5, None), baseline, score)],
                &main,
                &baselines(&[(baseline, score)]),
                &none,
            )
        };
        assert!(
            alone(0.6)[0].plain().contains("[0.480, 0.520]     9  below 1-NN on inputs\n"),
            "{}",
            alone(0.6)[0].plain()
        );
        assert_eq!(alone(0.4)[0].rows[0].len(), 4);
        assert_eq!(alone(0.51)[0].rows[0].len(), 4, "an interval that holds 0 is no loss");
        let mut point = beside(line("feature", 0.5, None), baseline, 0.6);
        point.baselines[0].ci95 = None;
        let point = super::tables(&[point], &main, &baselines(&[]), &none);
        assert!(point[0].plain().contains("  below 1-NN on inputs (point estimate)"), "{}", point[0].plain());
        let leaking = Comparison { leaked: 8, ..line("feature", 0.5, None) };
        let leaking = super::tables(&[leaking], &main, &baselines(&[]), &none);
        assert!(leaking[0].plain().contains("     9  had learned 8 test rows\n"), "{}", leaking[0].plain());
        let few = |groups, ci95| {
            let few = Comparison { groups: Some(groups), ci95, ..line("feature", 0.5, None) };
            super::tables(&[few], &main, &baselines(&[]), &none)[0].plain()
        };
        let text = few(2, [f64::NAN, f64::NAN]);
        assert!(text.contains("     0.500              –     9  no interval over 2 test groups\n"), "{text}");
        let text = few(7, [0.4, 0.6]);
        assert!(text.contains("[0.400, 0.600]     9  interval over 7 test groups alone\n"), "{text}");
        assert!(!few(20, [0.4, 0.6]).contains("test groups"));
        let repeated = |repeated| {
            let c = Comparison { repeated, ..line("feature", 0.5, None) };
            super::tables(&[c], &main, &baselines(&[]), &none)[0].plain()
        };
        assert!(repeated(8).contains("     9  all runs alike\n"), "{}", repeated(8));
        assert!(repeated(6).contains("     9  6 of 9 repetitions equal another\n"), "{}", repeated(6));
        let markdown = tables[0].markdown();
        assert!(
            markdown.contains("| structure | 0.550 | [0.530, 0.570] | 9 |  |  |  | below 1-NN on inputs |"),
            "{markdown}"
        );
    }
}
