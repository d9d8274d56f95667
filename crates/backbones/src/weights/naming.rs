//! How others name the tensors of the networks here.

/// A way of naming tensors.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Naming {
    /// What errors call it.
    pub(super) tag: &'static str,
    /// Beginnings of names, one of which every file of this naming has.
    pub(super) signs: &'static [&'static str],
    /// Beginnings of names and what stands for them here; the first that fits is taken, and a name that none fits stays. `#`
    /// is a number. Here it stands for a block, which they count through all stages, and `@` for the number as it is.
    pub(super) rules: &'static [(&'static str, &'static str)],
    /// Ends of names and what stands for them here, after the rules.
    pub(super) ends: &'static [(&'static str, &'static str)],
    /// Beginnings of names here whose tensors, where the network has no place for them, are left out: what only their first
    /// training needed.
    pub(super) ignored: &'static [&'static str],
}

/// LayerNorm's weights as the first files of BERT name them.
const LAYER_NORM: &[(&str, &str)] = &[(".gamma", ".weight"), (".beta", ".bias")];

/// The parameter names of the networks here are those of torchvision, timm or Hugging Face, whichever each network is known by.
pub(super) const NAMINGS: [Naming; 5] = [
    Naming {
        tag: "lukemelas",
        signs: &["_conv_stem."],
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
        ends: &[],
        ignored: &[],
    },
    Naming {
        tag: "hugging_face_bert",
        signs: &["bert.embeddings.", "encoder.layer.0.attention.self."],
        rules: &[("bert.", "")],
        ends: LAYER_NORM,
        ignored: &["cls.", "pooler.", "qa_outputs."],
    },
    Naming {
        tag: "hugging_face_distilbert",
        signs: &["distilbert.embeddings.", "transformer.layer.0."],
        rules: &[("distilbert.", "")],
        ends: LAYER_NORM,
        ignored: &["vocab_transform.", "vocab_layer_norm.", "vocab_projector.", "pre_classifier.", "qa_outputs."],
    },
    Naming {
        tag: "hugging_face_vit",
        signs: &["vit.embeddings.", "deit.embeddings.", "embeddings.patch_embeddings."],
        rules: &[
            ("vit.embeddings.patch_embeddings.projection.", "patch_embed.proj."),
            ("vit.embeddings.position_embeddings", "pos_embed"),
            ("vit.embeddings.cls_token", "cls_token"),
            ("vit.encoder.layer.#.attention.attention.", "blocks.@.attn."),
            ("vit.encoder.layer.#.attention.output.dense.", "blocks.@.attn.proj."),
            ("vit.encoder.layer.#.intermediate.dense.", "blocks.@.mlp.fc1."),
            ("vit.encoder.layer.#.output.dense.", "blocks.@.mlp.fc2."),
            ("vit.encoder.layer.#.layernorm_before.", "blocks.@.norm1."),
            ("vit.encoder.layer.#.layernorm_after.", "blocks.@.norm2."),
            // As transformers names them from its fifth version on.
            ("vit.layers.#.attention.q_proj.", "blocks.@.attn.query."),
            ("vit.layers.#.attention.k_proj.", "blocks.@.attn.key."),
            ("vit.layers.#.attention.v_proj.", "blocks.@.attn.value."),
            ("vit.layers.#.attention.o_proj.", "blocks.@.attn.proj."),
            ("vit.layers.#.mlp.", "blocks.@.mlp."),
            ("vit.layers.#.layernorm_before.", "blocks.@.norm1."),
            ("vit.layers.#.layernorm_after.", "blocks.@.norm2."),
            ("vit.layernorm.", "norm."),
            ("vit.pooler.", "pooler."),
        ],
        ends: &[],
        ignored: &["pooler."],
    },
    Naming { tag: "own", signs: &[], rules: &[], ends: &[], ignored: &[] },
];

/// Modules that networks of one naming stand in, in some files: a name is read as if it stood in the first.
const WITHIN: &[(&str, [&str; 2])] = &[("hugging_face_vit", ["vit.", "deit."])];

/// Three layers there that are one here, in this order of rows.
pub(super) const FUSED: (&str, [&str; 3]) = (".attn.qkv.", [".attn.query.", ".attn.key.", ".attn.value."]);

/// Names of layers that turn features into classes.
pub(super) const HEADS: [&str; 6] = ["fc", "classifier", "classifier.1", "head", "head.fc", "head_dist"];

/// Beginnings of names of layers that no file has and that a network here may still have: they start fresh.
pub(super) const FRESH: [&str; 1] = ["pooling."];

/// Ends of names of tensors that no network here needs.
pub(super) const NOT_NEEDED: [&str; 2] = [".num_batches_tracked", ".position_ids"];

impl Naming {
    /// The naming of a file with these names.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a String> + Clone) -> &'static Self {
        let has = |sign: &&str| names.clone().any(|n| n.starts_with(sign));
        let found = NAMINGS.iter().find(|n| n.signs.iter().any(&has));
        found.unwrap_or(&NAMINGS[NAMINGS.len() - 1])
    }

    /// The name here of one of theirs. `blocks` are the beginnings `blocks.S.I.` of the names here, in the order of the network.
    pub(super) fn translate(&self, name: &str, blocks: &[String]) -> String {
        let whole = match WITHIN.iter().find(|(tag, _)| *tag == self.tag) {
            None => name.to_owned(),
            Some((_, [first, others @ ..])) => {
                let inner = name.strip_prefix(first).or_else(|| others.iter().find_map(|o| name.strip_prefix(o)));
                format!("{first}{}", inner.unwrap_or(name))
            }
        };
        let rule = |(from, to): &(&str, &str)| match from.split_once('#') {
            None => whole.strip_prefix(from).map(|rest| format!("{to}{rest}")),
            Some((before, after)) => {
                let (number, rest) = whole.strip_prefix(before)?.split_once('.')?;
                let rest = format!(".{rest}");
                let rest = rest.strip_prefix(after)?;
                let index = number.parse::<usize>().ok()?;
                if to.contains('@') {
                    return Some(to.replace('@', number) + rest);
                }
                Some(to.replace("blocks.#.", blocks.get(index)?) + rest)
            }
        };
        let ours = self.rules.iter().find_map(rule).unwrap_or_else(|| name.to_owned());
        let end = self.ends.iter().find_map(|(from, to)| Some(format!("{}{to}", ours.strip_suffix(from)?)));
        end.unwrap_or(ours)
    }

    /// Whether a tensor of this name here may be left out.
    pub(super) fn ignores(&self, name: &str) -> bool {
        NOT_NEEDED.iter().any(|end| name.ends_with(end))
            || name == "embeddings.position_ids"
            || self.ignored.iter().any(|start| name.starts_with(start))
    }
}
