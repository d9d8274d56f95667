//! How others name the tensors of the networks here.

/// A way of naming tensors.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Naming {
    /// What pipeline files call it.
    pub(super) tag: &'static str,
    /// What every file of this naming has: the beginning of a name.
    pub(super) sign: &'static str,
    /// Beginnings of names and what stands for them here; the first that fits is taken, and a name that none fits stays. `#`
    /// is a number: that of a block, counted through all stages there, and within its stage here.
    pub(super) rules: &'static [(&'static str, &'static str)],
}

/// The parameter names of the networks here are those of torchvision or timm, whichever each network is known by.
pub(super) const NAMINGS: [Naming; 2] = [
    Naming {
        tag: "lukemelas",
        sign: "_conv_stem.",
        rules: &[
            ("_conv_stem.", "conv_stem."),
            ("_bn0.", "bn1."),
            ("_conv_head.", "conv_head."),
            ("_bn1.", "bn2."),
            ("_fc.", "classifier."),
            // The first block widens nothing.
            ("_blocks.0._depthwise_conv.", "blocks.0.0.conv_dw."),
            ("_blocks.0._bn1.", "blocks.0.0.bn1."),
            ("_blocks.0._project_conv.", "blocks.0.0.conv_pw."),
            ("_blocks.0._bn2.", "blocks.0.0.bn2."),
            ("_blocks.#._expand_conv.", "blocks.#.conv_pw."),
            ("_blocks.#._bn0.", "blocks.#.bn1."),
            ("_blocks.#._depthwise_conv.", "blocks.#.conv_dw."),
            ("_blocks.#._bn1.", "blocks.#.bn2."),
            ("_blocks.#._project_conv.", "blocks.#.conv_pwl."),
            ("_blocks.#._bn2.", "blocks.#.bn3."),
        ],
    },
    Naming { tag: "own", sign: "", rules: &[] },
];

/// Names of layers that turn features into classes.
pub(super) const HEADS: [&str; 6] = ["fc", "classifier", "classifier.1", "head", "head.fc", "head_dist"];

/// Ends of names of tensors that no network here needs.
pub(super) const NOT_NEEDED: [&str; 2] = [".num_batches_tracked", ".position_ids"];

impl Naming {
    /// The name here of one of theirs. `blocks` are the beginnings `blocks.S.I.` of the names here, in the order of the network.
    pub(super) fn translate(&self, name: &str, blocks: &[String]) -> String {
        let rule = |(from, to): &(&str, &str)| match from.split_once('#') {
            None => name.strip_prefix(from).map(|rest| format!("{to}{rest}")),
            Some((before, after)) => {
                let (number, rest) = name.strip_prefix(before)?.split_once('.')?;
                let rest = format!(".{rest}");
                let rest = rest.strip_prefix(after)?;
                let block = blocks.get(number.parse::<usize>().ok()?)?;
                Some(to.replace("blocks.#.", block) + rest)
            }
        };
        self.rules.iter().find_map(rule).unwrap_or_else(|| name.to_owned())
    }
}
