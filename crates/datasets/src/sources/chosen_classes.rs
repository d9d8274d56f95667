//! The option `classes` of `image_folder`: names and order of the classes, each a folder.

use std::collections::BTreeSet;

use transplant_core::{Finding, FindingKind, Invalid, Result, nearest};

use crate::findings::{listed, quoted};

/// Checks the option by itself.
///
/// # Errors
/// Names it when it is empty or names a class twice.
pub(super) fn check_classes(chosen: Option<&[String]>) -> Result<(), Invalid> {
    let Some(classes) = chosen else { return Ok(()) };
    if classes.is_empty() {
        return Err(Invalid::key("classes", "must not be empty; leave it out to take all folders"));
    }
    match classes.iter().enumerate().find(|(i, name)| classes[..*i].contains(name)) {
        Some((_, name)) => Err(Invalid::key("classes", format!("names `{name}` twice"))),
        None => Ok(()),
    }
}

/// The classes in their order, of these folders, and what there is to tell of folders that are none of them.
///
/// # Errors
/// When there is no folder for one of them.
pub(super) fn chosen_classes(
    folders: &BTreeSet<String>,
    chosen: Option<&[String]>,
) -> Result<(Vec<String>, Option<Finding>)> {
    let Some(chosen) = chosen else { return Ok((folders.iter().cloned().collect(), None)) };
    if let Some(name) = chosen.iter().find(|name| !folders.contains(*name)) {
        let e = Invalid::key("classes", format!("names `{name}`, and there is no folder of that name"));
        let near = nearest(name, folders.iter().map(String::as_str));
        return Err(near.map_or(e.clone(), |near| e.help(format!("did you mean `{near}`?"))).into());
    }
    let others: Vec<String> = folders.iter().filter(|c| !chosen.contains(c)).map(|c| quoted(c)).collect();
    let message = format!("folders that `classes` leaves out: {}", listed(&others));
    Ok((chosen.to_vec(), (!others.is_empty()).then(|| Finding::new(FindingKind::UnusedClasses, message))))
}
