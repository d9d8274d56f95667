//! Which emoji are variants of one: the man, the woman and the person who is a cook are drawn nearly alike.

/// Man, woman, person.
const ADULTS: [u32; 3] = [0x1F468, 0x1F469, 0x1F9D1];

/// Boy, girl, child, baby.
const CHILDREN: [u32; 4] = [0x1F466, 0x1F467, 0x1F9D2, 0x1F476];

/// Variants by gender that have code points of their own, each with the group that it belongs to.
const ALIKE: [(u32, &str); 22] = [
    // A family, couples who hold hands, in love, and who kiss: also written as sequences of persons.
    (0x1F46A, "family"),
    (0x1F46B, "person 1F91D"),
    (0x1F46C, "person 1F91D"),
    (0x1F46D, "person 1F91D"),
    (0x1F491, "person 2764"),
    (0x1F48F, "person 2764 1F48B"),
    // Father and Mother Christmas; the third is the sequence of a person and a tree.
    (0x1F385, "person 1F384"),
    (0x1F936, "person 1F384"),
    // Children, old persons, royals, dancers, pregnant persons.
    (0x1F466, "child"),
    (0x1F467, "child"),
    (0x1F9D2, "child"),
    (0x1F474, "old person"),
    (0x1F475, "old person"),
    (0x1F9D3, "old person"),
    (0x1F934, "royal"),
    (0x1F478, "royal"),
    (0x1FAC5, "royal"),
    (0x1F483, "dancer"),
    (0x1F57A, "dancer"),
    (0x1F930, "pregnant"),
    (0x1FAC3, "pregnant"),
    (0x1FAC4, "pregnant"),
];

/// The name of the group of an emoji, given by its code points.
///
/// It is the first code point after signs of gender, skin tones, joiners and variation selectors were dropped. A sequence that
/// begins with a man, a woman or a person is named by what is joined to them; a colour of hair does not count, and sequences of
/// persons alone are families.
pub(super) fn base(points: &[u32]) -> String {
    let left: Vec<u32> = points.iter().copied().filter(|p| !is_mark(*p)).collect();
    match left.as_slice() {
        // The signs of gender are emoji themselves.
        [] => points.first().map(|p| format!("{p:X}")).unwrap_or_default(),
        [adult, joined @ ..] if ADULTS.contains(adult) => {
            let is_hair = |p: &u32| (0x1F9B0..=0x1F9B3).contains(p);
            let persons = joined.iter().filter(|p| ADULTS.contains(p) || CHILDREN.contains(p)).count();
            let others = joined.iter().filter(|p| !is_hair(p) && !ADULTS.contains(p) && !CHILDREN.contains(p));
            let others: Vec<String> = others.map(|p| format!(" {p:X}")).collect();
            match (others.is_empty(), persons) {
                (true, 0) => "person".to_owned(),
                (true, _) => "family".to_owned(),
                (false, _) => format!("person{}", others.concat()),
            }
        }
        [first, ..] => {
            let alike = ALIKE.iter().find(|(point, _)| point == first);
            alike.map_or_else(|| format!("{first:X}"), |(_, group)| (*group).to_owned())
        }
    }
}

/// Variation selectors, the joiner, skin tones, and the signs of woman and man.
fn is_mark(point: u32) -> bool {
    matches!(point, 0xFE0E | 0xFE0F | 0x200D | 0x1F3FB..=0x1F3FF | 0x2640 | 0x2642)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(unified: &str) -> String {
        let points: Vec<u32> = unified.split('-').map(|p| u32::from_str_radix(p, 16).unwrap()).collect();
        base(&points)
    }

    #[test]
    fn variants_share_a_group_and_others_do_not() {
        for (group, variants) in [
            // The cook, whoever it is; not the frying pan that tells the cook.
            ("person 1F373", &["1F468-200D-1F373", "1F469-1F3FD-200D-1F373", "1F9D1-200D-1F373"][..]),
            ("1F373", &["1F373"]),
            ("1F3C3", &["1F3C3", "1F3C3-200D-2640-FE0F", "1F3C3-1F3FB-200D-2642-FE0F"]),
            ("1F3CB", &["1F3CB-FE0F", "1F3CB-FE0F-200D-2642-FE0F"]),
            ("person 2695", &["1F9D1-200D-2695-FE0F", "1F469-200D-2695-FE0F"]),
            ("person", &["1F468", "1F469-200D-1F9B0", "1F9D1-200D-1F9B3"]),
            ("family", &["1F46A", "1F468-200D-1F466", "1F469-200D-1F469-200D-1F467-200D-1F466"]),
            ("person 2764", &["1F491", "1F469-200D-2764-FE0F-200D-1F468"]),
            ("person 2764 1F48B", &["1F48F", "1F468-200D-2764-FE0F-200D-1F48B-200D-1F468"]),
            ("person 1F91D", &["1F46B", "1F9D1-200D-1F91D-200D-1F9D1"]),
            ("person 1F384", &["1F385", "1F936", "1F9D1-200D-1F384"]),
            ("1F408", &["1F408", "1F408-200D-2B1B"]),
            ("1F1E9", &["1F1E9-1F1EA", "1F1E9-1F1F0"]),
            ("2640", &["2640-FE0F"]),
            ("2642", &["2642-FE0F"]),
        ] {
            for variant in variants {
                assert_eq!(of(variant), group, "{variant}");
            }
        }
    }
}
