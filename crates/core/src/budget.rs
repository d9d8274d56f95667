//! How the epochs of a fit are divided among its phases.

use crate::{Invalid, Phase, Until};

/// Epochs of each phase of a fit that has `budget` epochs in all.
///
/// [`Until::Now`] takes none, [`Until::Epochs`] its number and [`Until::Share`] its share of the whole budget, rounded
/// so that shares with the sum 1 take all of it. Phases with [`Until::Budget`] divide what is left; where it does not
/// divide evenly, earlier ones get one more. A budget of 0 trains nothing.
///
/// # Errors
/// When a share is not above 0, shares have a sum above 1, the phases together take more than the budget, or one of
/// them gets no epoch.
pub fn epochs_of(phases: &[Phase], budget: u64) -> Result<Vec<u64>, Invalid> {
    if budget == 0 {
        return Ok(vec![0; phases.len()]);
    }
    let (mut shares, mut taken, mut open) = (0.0, 0, 0);
    let mut epochs = Vec::new();
    for phase in phases {
        let n = match phase.until {
            Until::Now => 0,
            Until::Epochs(n) => n,
            Until::Share(share) if share > 0.0 && share <= 1.0 => {
                let before = (shares * budget as f64).round() as u64;
                shares += share;
                (shares * budget as f64).round() as u64 - before
            }
            Until::Share(share) => {
                return Err(Invalid::new(format!(
                    "phase `{}` has the share {share} of the epochs; it must be above 0 and at most 1",
                    phase.name
                )));
            }
            Until::Budget => {
                open += 1;
                0
            }
        };
        taken += n;
        epochs.push(n);
    }
    if shares > 1.0 + 1e-9 {
        return Err(Invalid::new(format!(
            "the phases' shares of the epochs have the sum {shares}; it must be at most 1"
        )));
    }
    if taken > budget {
        let e = Invalid::new(format!("the phases take {taken} epochs, and the budget of all is {budget}"));
        return Err(e.help(format!("train for at least {} epochs", taken + open)));
    }
    let mut left = budget - taken;
    for (_, n) in phases.iter().zip(&mut epochs).filter(|(p, _)| p.until == Until::Budget) {
        (*n, open) = (left.div_ceil(open), open - 1);
        left -= *n;
    }
    match phases.iter().zip(&epochs).find(|(p, n)| p.until != Until::Now && **n == 0) {
        Some((phase, _)) => {
            Err(Invalid::new(format!("phase `{}` gets no epoch of the budget of {budget}", phase.name))
                .help("train for more epochs"))
        }
        None => Ok(epochs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Plan;

    fn of(untils: &[Until], budget: u64) -> Result<Vec<u64>, String> {
        let phases: Vec<Phase> =
            untils.iter().map(|until| Phase { until: *until, ..Phase::new("p", Plan::default()) }).collect();
        epochs_of(&phases, budget).map_err(|e| e.to_string())
    }

    #[test]
    fn phases_divide_one_budget() {
        use Until::{Budget, Epochs, Now, Share};
        assert_eq!(of(&[Budget], 7), Ok(vec![7]));
        assert_eq!(of(&[Budget, Budget, Budget], 7), Ok(vec![3, 2, 2]));
        assert_eq!(of(&[Epochs(2), Now, Budget], 7), Ok(vec![2, 0, 5]));
        assert_eq!(of(&[Share(1.0 / 3.0), Share(1.0 / 3.0), Share(1.0 / 3.0)], 10), Ok(vec![3, 4, 3]));
        assert_eq!(of(&[Share(0.25), Budget], 10), Ok(vec![3, 7]));
        assert_eq!(of(&[Now], 3), Ok(vec![0]));
        assert_eq!(of(&[Budget, Epochs(1)], 0), Ok(vec![0, 0]));
    }

    #[test]
    fn budgets_that_do_not_suffice_are_errors() {
        use Until::{Budget, Epochs, Share};
        let e = of(&[Epochs(5), Budget], 5).unwrap_err();
        assert!(e.contains("phase `p` gets no epoch of the budget of 5"), "{e}");
        let e = of(&[Epochs(5), Budget], 4).unwrap_err();
        assert!(e.contains("take 5 epochs") && e.contains("at least 6"), "{e}");
        assert!(of(&[Share(0.7), Share(0.7)], 10).unwrap_err().contains("sum 1.4"));
        assert!(of(&[Share(0.0)], 10).unwrap_err().contains("share 0"));
        assert!(of(&[Share(f64::NAN)], 10).is_err());
        assert!(of(&[Share(0.01), Budget], 10).is_err());
    }
}
