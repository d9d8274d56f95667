//! What a fit leaves: adapters merged into weights, and nothing that training alone needed.

use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::DType;
use transplant_core::{Error, Plan, Result, Role, Scope};

use crate::model::{Model, network_in, untracked};

impl Model {
    /// Brings the model to the state in which a fit leaves it, as
    /// [`Strategy::finish`](transplant_core::Strategy::finish) says, and builds it again. Returns the weights that
    /// adapters were merged into.
    ///
    /// # Errors
    /// When an adapter cannot be merged; the error names its layer.
    pub fn finish(&mut self) -> Result<BTreeSet<String>> {
        let finish = self.strategy().finish();
        let root = self.scope();
        network_in(&root, &self.parts, &self.info())?;
        let mut merged = BTreeSet::new();
        let (gone, stay): (Vec<_>, Vec<_>) =
            root.adapted().into_iter().partition(|site| finish.merge.iter().any(|p| p.matches(&site.name)));
        for site in &gone {
            let name = format!("{}.weight", site.name);
            let mut weight = self.params().get(&name)?.view();
            for adapter in root.attach(site)? {
                let none = || Error::param(&site.name, "its adapter has no form as a weight, and cannot be merged");
                weight = adapter.merged(&weight)?.ok_or_else(none)?;
            }
            self.params().set(&name, &weight)?;
            merged.insert(name);
        }
        // Adapters of earlier phases that the last one does not attach have no effect any more.
        let below = |name: &str| stay.iter().any(|s| name.strip_prefix(&s.name).is_some_and(|n| n.starts_with('.')));
        let adapters: BTreeSet<String> =
            self.params().all().into_iter().filter(|(_, p)| p.role == Role::Adapter).map(|(n, _)| n).collect();
        self.params().remove_where(|n| adapters.contains(n) && !below(n));
        (self.adapters.merged, self.removed) = (finish.merge, finish.remove);
        self.rebuild()?;
        Ok(merged)
    }

    /// Brings a model whose tensors were put back to the state in which a fit left it; where adapters are among them, it
    /// has to be planned before.
    ///
    /// # Errors
    /// When a parameter has the wrong shape.
    pub fn attach_finished(&mut self) -> Result<()> {
        self.resume_phase(self.phases().len().saturating_sub(1))?;
        let finish = self.strategy().finish();
        (self.adapters.merged, self.removed) = (finish.merge, finish.remove);
        self.rebuild()
    }

    /// A scope under the present adapters, in which nothing is tracked.
    fn scope(&self) -> Scope {
        let plan: Plan = untracked(self.params(), &self.adapters);
        Scope::new(self.params(), Arc::new(plan), self.parts.seeds, DType::F32)
    }
}
