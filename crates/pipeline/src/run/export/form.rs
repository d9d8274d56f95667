//! The form in which another library knows a network: its name there, the arguments that make it, and the names of its
//! tensors.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use transplant_backbones::{
    BertOptions, DistilBertOptions, EfficientNetLiteOptions, EfficientNetLitePadding as Padding, ResNetDepth,
    ResNetOptions, ResNetStem, TextPooling, ViTOptions, ViTSize,
};
use transplant_core::{Architecture, Invalid, Spec};

/// The library that opens an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    /// `timm.create_model`.
    Timm,
    /// `torchvision.models`.
    Torchvision,
    /// `transformers`, by `AutoModelForSequenceClassification`.
    Transformers,
}

/// How a network stands in that library.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Form {
    pub(super) library: Library,
    /// The library's name of the network, or of its class.
    pub(super) architecture: String,
    /// Arguments beside the number of classes; for transformers, the entries of the configuration.
    pub(super) arguments: Map<String, Value>,
    /// Lines of Python that change torchvision's `model` before its tensors are loaded.
    pub(super) changes: Vec<String>,
    /// What stands before the names of the network's tensors.
    pub(super) prefix: &'static str,
    /// The layer that turns features into classes.
    pub(super) head: &'static str,
}

/// The form of a network for images of `channels`, `height` and `width`, or for tokens.
///
/// # Errors
/// When no other library knows the network.
pub(super) fn form(network: &Spec<dyn Architecture>, image: Option<[usize; 3]>) -> Result<Form, Invalid> {
    let [channels, height, width] = image.unwrap_or([3, 224, 224]);
    let new = |library, architecture: &str, head| Form {
        library,
        architecture: architecture.to_owned(),
        arguments: Map::new(),
        changes: Vec::new(),
        prefix: "",
        head,
    };
    Ok(match network.tag.as_str() {
        "resnet" => {
            let o: ResNetOptions = options(network)?;
            let depth = match o.depth {
                ResNetDepth::D18 => "resnet18",
                ResNetDepth::D34 => "resnet34",
                ResNetDepth::D50 => "resnet50",
            };
            if o.stem == ResNetStem::Imagenet {
                let first = format!("model.conv1 = torch.nn.Conv2d({channels}, 64, 7, 2, 3, bias=False)");
                let changes = if channels == 3 { Vec::new() } else { vec![first] };
                return Ok(Form { changes, ..new(Library::Timm, depth, "fc") });
            }
            let changes = vec![
                format!("model.conv1 = torch.nn.Conv2d({channels}, 64, 3, padding=1, bias=False)"),
                "model.maxpool = torch.nn.Identity()".to_owned(),
            ];
            Form { changes, ..new(Library::Torchvision, depth, "fc") }
        }
        "mobilenet_v2" => {
            let first = format!("model.features[0][0] = torch.nn.Conv2d({channels}, 32, 3, 2, 1, bias=False)");
            let changes = if channels == 3 { Vec::new() } else { vec![first] };
            Form { changes, ..new(Library::Torchvision, "mobilenet_v2", "classifier.1") }
        }
        "efficientnet_lite" => {
            let o: EfficientNetLiteOptions = options(network)?;
            let tensorflow = if o.padding == Padding::Same { "tf_" } else { "" };
            let variant = serde_json::to_value(o.variant).unwrap_or_default();
            let variant = variant.as_str().unwrap_or_default();
            new(Library::Timm, &format!("{tensorflow}efficientnet_lite{variant}"), "classifier")
        }
        "convnext" => new(Library::Timm, "convnext_tiny", "head.fc"),
        "vit" => {
            let o: ViTOptions = options(network)?;
            let name = match o.size {
                ViTSize::Tiny => "vit_tiny_patch16_224",
                ViTSize::Small => "vit_small_patch16_224",
            };
            let arguments = object(json!({"img_size": [height, width], "patch_size": o.patch, "depth": o.depth}));
            Form { arguments, ..new(Library::Timm, name, "head") }
        }
        "bert" => {
            let o: BertOptions = options(network)?;
            let arguments = object(json!({
                "hidden_size": o.width, "num_hidden_layers": o.layers, "num_attention_heads": o.heads,
                "intermediate_size": o.intermediate, "max_position_embeddings": o.positions, "type_vocab_size": o.types,
                "hidden_act": "gelu", "layer_norm_eps": 1e-12, "hidden_dropout_prob": o.dropout,
                "attention_probs_dropout_prob": o.attention_dropout, "pad_token_id": 0,
            }));
            let form = Form { arguments, prefix: "bert.", ..new(Library::Transformers, "", "classifier") };
            of_text(form, "bert", ("BertForSequenceClassification", "TransplantBert"), o.pooling)
        }
        "distilbert" => {
            let o: DistilBertOptions = options(network)?;
            let arguments = object(json!({
                "dim": o.width, "n_layers": o.layers, "n_heads": o.heads, "hidden_dim": o.intermediate,
                "max_position_embeddings": o.positions, "activation": "gelu", "sinusoidal_pos_embds": false,
                "dropout": o.dropout, "attention_dropout": o.attention_dropout, "pad_token_id": 0,
            }));
            let form = Form { arguments, prefix: "distilbert.", ..new(Library::Transformers, "", "classifier") };
            of_text(form, "distilbert", ("", "TransplantDistilBert"), o.pooling)
        }
        tag => return Err(Invalid::new(format!("no other library knows the network `{tag}`"))),
    })
}

/// The file of Python that has the poolings which transformers lacks.
const CODE: &str = "transplant_text";

/// With the class for a pooling: transformers' own for BERT's pooler, that of [`CODE`] for the others.
fn of_text(mut form: Form, network: &str, (library, own): (&str, &str), pooling: TextPooling) -> Form {
    if pooling == TextPooling::ClsPooler {
        form.architecture = library.to_owned();
        form.arguments.insert("model_type".to_owned(), network.into());
        return form;
    }
    // The type is not transformers' own: its classes would read the file, and make up the layers that it lacks.
    form.architecture = own.to_owned();
    form.arguments.extend(object(json!({
        "model_type": format!("transplant_{network}"), "pooling": pooling, "auto_map": {
            "AutoConfig": format!("{CODE}.{own}Config"),
            "AutoModelForSequenceClassification": format!("{CODE}.{own}"),
        },
    })));
    form
}

impl Form {
    /// Whether it is opened with code that lies beside it.
    pub(super) fn needs_code(&self) -> bool {
        self.arguments.contains_key("auto_map")
    }

    /// The library's name of one of the network's tensors.
    pub(super) fn name(&self, ours: &str) -> String {
        // A learned pooling stands beside the network there.
        if ours.starts_with("pooling.") { ours.to_owned() } else { format!("{}{ours}", self.prefix) }
    }
}

fn options<O: DeserializeOwned>(network: &Spec<dyn Architecture>) -> Result<O, Invalid> {
    let read = serde_json::from_value(Value::Object(network.options.clone()));
    read.map_err(|e| Invalid::new(format!("the options of `{}` cannot be read: {e}", network.tag)))
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(network: Spec<dyn Architecture>) -> Form {
        form(&network, Some([1, 32, 48])).unwrap()
    }

    #[test]
    fn networks_have_the_names_of_their_libraries() {
        let names = [
            (Spec::new("resnet").with("depth", "34"), "resnet34"),
            (Spec::new("resnet").with("depth", "50").with("stem", "cifar"), "resnet50"),
            (Spec::new("efficientnet_lite").with("variant", "1"), "tf_efficientnet_lite1"),
            (Spec::new("efficientnet_lite").with("padding", "symmetric"), "efficientnet_lite0"),
            (Spec::new("convnext"), "convnext_tiny"),
            (Spec::new("vit").with("size", "small"), "vit_small_patch16_224"),
            (Spec::new("mobilenet_v2"), "mobilenet_v2"),
            (Spec::new("bert").with("pooling", "cls_pooler"), "BertForSequenceClassification"),
            (Spec::new("bert"), "TransplantBert"),
            (Spec::new("distilbert").with("pooling", "cls"), "TransplantDistilBert"),
        ];
        for (network, name) in names {
            assert_eq!(of(network).architecture, name);
        }
        assert!(form(&Spec::new("convnet"), None).unwrap_err().message.contains("no other library knows"));
    }

    #[test]
    fn other_sizes_and_stems_are_told() {
        assert_eq!(of(Spec::new("vit").with("depth", 2)).arguments["img_size"], json!([32, 48]));
        let small = of(Spec::new("resnet").with("stem", "cifar"));
        assert_eq!((small.library, small.changes.len()), (Library::Torchvision, 2));
        assert!(of(Spec::new("mobilenet_v2")).changes[0].contains("Conv2d(1, 32"));
    }

    #[test]
    fn only_berts_pooler_needs_no_code() {
        let bert = |pooling: &str| of(Spec::new("bert").with("pooling", pooling));
        assert!(!bert("cls_pooler").needs_code() && bert("mean").needs_code());
        assert_eq!(bert("attention").name("pooling.score.weight"), "pooling.score.weight");
        assert_eq!(bert("attention").name("embeddings.LayerNorm.bias"), "bert.embeddings.LayerNorm.bias");
    }
}
