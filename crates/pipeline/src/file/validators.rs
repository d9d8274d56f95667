//! What scores a step's models without labels: `select` and `validators`.

use transplant_core::{Invalid, Spec, Validator};

use super::check::{Sections, component, components, under};
use super::section::StepSection;
use crate::resolved::validator_name;

type Validators = (Option<Spec<dyn Validator>>, Vec<Spec<dyn Validator>>);

/// The validator that chooses, and those that are told.
pub(super) fn validators(step: &StepSection, sections: &Sections<'_>) -> Result<Validators, Invalid> {
    let select = step.select.as_ref().map(|spec| component(sections.plugins, spec, &[]));
    let select = select.transpose().map_err(under("select"))?;
    let told = components(sections.plugins, &step.validators).map_err(under("validators"))?;
    for (i, spec) in told.iter().enumerate() {
        let name = validator_name(spec);
        let earlier = told[..i].iter().any(|other| validator_name(other) == name);
        let other_options = select.as_ref().is_some_and(|s| validator_name(s) == name && s != spec);
        if earlier || other_options {
            let e = Invalid::new(format!("`{name}` is there with other options, or twice"));
            return Err(under("validators")(under(&i.to_string())(
                e.help("one of each validator and stream can be told"),
            )));
        }
    }
    Ok((select, told))
}
