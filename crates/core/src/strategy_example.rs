use transplant_core::{
    Boundary, Finish, Load, ModelInfo, Needs, Origin, Pass, Pattern, Phase, Plan, Result, Role, Strategy, Until, Use,
};

/// Trains the head for a fifth of the epochs, then all weights.
pub struct HeadFirst;

impl Strategy for HeadFirst {
    fn needs(&self) -> Needs {
        Needs { load: Load::Backbone, source_required: true, ..Needs::default() }
    }

    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>> {
        let uses = |p: &transplant_core::ParamInfo| {
            (p.name.clone(), if p.stage.is_some() { Use::Frozen } else { Use::TRAINED })
        };
        let head = Plan { uses: model.weights().map(uses).collect(), ..Plan::default() };
        Ok(vec![
            Phase { until: Until::Share(0.2), ..Phase::new("head", head) },
            Phase::new("all", Plan::default()), // the epochs that are left
        ])
    }

    fn at(&self, boundary: Boundary, pass: &mut dyn Pass) -> Result<()> {
        if boundary == Boundary::PhaseStart(1) {
            // A tensor below `modules` is in every checkpoint; a field of this struct is not.
            for (name, head) in pass.params().snapshot(|name| name.starts_with("heads."))? {
                pass.params().insert(&format!("modules.head_first.{name}"), &head, Role::Buffer, Origin::Fresh)?;
            }
        }
        Ok(())
    }

    fn finish(&self) -> Finish {
        Finish { remove: vec![Pattern::new("modules.head_first")], ..Finish::default() }
    }
}
