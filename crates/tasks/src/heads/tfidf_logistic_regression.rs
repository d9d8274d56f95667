//! Logistic regression on TF-IDF: texts as weighted counts of words and word pairs, and a linear classifier on them.
//!
//! What a text is classified with when there is no network; on short texts a tuned one is hard to beat (Wang and
//! Manning
//! 2012). With the same options it is scikit-learn's `TfidfVectorizer` followed by `LogisticRegression`: the penalty is
//! not on the bias, and two classes share one set of coefficients, half of which, with either sign, goes to each of the
//! two logits.
//!
//! Use it as the baseline that every network for texts stands beside, over the backbone `raw_text`.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, BuildCx, Component, Ctx, Error, Features, Field, HIDDEN, HeadFit, Invalid, Module, Plugins, Result, Schema,
    Scope,
};
use transplant_kernels::parallel;

use super::logistic_regression::strength;
use super::softmax::Softmax;
use super::sparse::{Sparse, product};
use super::tfidf::{Terms, Vocabulary, Words, texts};
use super::{ClassWeight, LOGITS, Uniform, checked_labels, class_count};

/// The logit of a class without a labelled row: its probability is zero, and its logarithm finite.
const NEVER: f32 = -1e4;

/// A linear classifier on weighted counts of a text's words and word pairs.
///
/// It needs no network: the baseline that networks for texts stand beside. It reads texts themselves, as the backbone
/// `raw_text` passes them on, and is what scikit-learn's `TfidfVectorizer` and `LogisticRegression` are with the same
/// options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TfidfLogisticRegressionOptions {
    /// The longest run of words that is a term, 1 to 8: 1 takes words alone, 2 pairs of neighbours as well.
    pub ngrams: usize,
    /// A term is known when at least this many labelled texts hold it; at least 1. Where more than half of the labelled
    /// texts would hold no known term, as a few short ones do, every term is known.
    pub min_count: usize,
    /// Whether a term that stands n times in a text counts `1 + ln n` there instead of n.
    pub sublinear_tf: bool,
    /// Inverse strength of the penalty, above 0; the loss is the *sum* over rows, as in scikit-learn. The default did
    /// best on held-out reviews of clothes; scikit-learn's own is 1.
    pub c: f64,
    /// What the rows of each class count: `none` (each row 1) or `balanced` (each class alike).
    pub class_weight: ClassWeight,
}

/// The terms of each text, by number, and how much each weighs.
type Weighted = Vec<Vec<(u32, f64)>>;

impl Default for TfidfLogisticRegressionOptions {
    fn default() -> Self {
        Self { ngrams: 2, min_count: 2, sublinear_tf: true, c: 6.0, class_weight: ClassWeight::Balanced }
    }
}

/// Classifies texts by their terms. Keeps `vocabulary u8 [bytes]`, the terms in the order of their bytes one after
/// another, `offsets u32 [terms + 1]` into it, `idf [terms]`, `weight [classes, terms]` and `bias [classes]`; puts out
/// logits.
#[derive(Debug, Clone, Default)]
pub struct TfidfLogisticRegression(TfidfLogisticRegressionOptions);

impl TfidfLogisticRegression {
    /// With these options.
    ///
    /// # Errors
    /// When `ngrams` is not 1 to 8, `min_count` is 0 or `c` is not positive.
    pub fn new(options: TfidfLogisticRegressionOptions) -> Result<Self, Invalid> {
        if !(1..=8).contains(&options.ngrams) {
            return Err(Invalid::key("ngrams", "must be 1 to 8"));
        }
        if options.min_count == 0 {
            return Err(Invalid::key("min_count", "must be at least 1"));
        }
        if !(options.c.is_finite() && options.c > 0.0) {
            return Err(Invalid::key("c", "must be above 0"));
        }
        Ok(Self(options))
    }

    fn terms(&self) -> Terms {
        Terms { ngrams: self.0.ngrams, sublinear: self.0.sublinear_tf }
    }

    /// The known terms, and those of each text.
    fn vocabulary(&self, words: &[Words]) -> Result<(Vocabulary, Weighted)> {
        let known = |min_count| -> Result<_> {
            let vocabulary = Vocabulary::fit(words, self.terms(), min_count)?;
            let rows: Vec<_> = parallel::map(words.len(), &|i| vocabulary.row(&words[i]));
            Ok((vocabulary, rows))
        };
        let (vocabulary, rows) = known(self.0.min_count)?;
        let empty = rows.iter().filter(|row| row.is_empty()).count();
        if self.0.min_count > 1 && 2 * empty > rows.len() { known(1) } else { Ok((vocabulary, rows)) }
    }

    /// `weight` and `bias` of the classes that have rows, `[seen × (terms + 1)]`.
    fn coefficients(&self, x: &Sparse, terms: usize, y: &[usize], seen: usize) -> Result<Vec<f64>> {
        let start = vec![0.0; seen * (terms + 1)];
        if seen == 1 {
            return Ok(start);
        }
        let weight = self.0.class_weight.of(y, seen);
        let pull = strength(self.0.c, seen);
        Softmax { x, y, weight: &weight, classes: seen, pull, free_bias: true, towards: &start }.minimise(&start)
    }
}

impl Component<dyn HeadFit> for TfidfLogisticRegression {
    const TYPE: &'static str = "tfidf_logistic_regression";
    type Options = TfidfLogisticRegressionOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn HeadFit>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl HeadFit for TfidfLogisticRegression {
    fn name(&self) -> &'static str {
        <Self as Component<dyn HeadFit>>::TYPE
    }

    fn fit(
        &self,
        f: &Features,
        target: &Tensor,
        field: &Field,
        _: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let classes = class_count(field)?;
        let texts = texts(&f.values, &f.rows)?;
        let labels = checked_labels(f, target, classes, texts.len())?;
        let words: Vec<Words> = parallel::map(texts.len(), &|i| Words::of(&texts[i]));
        let (vocabulary, rows) = self.vocabulary(&words)?;
        let terms = vocabulary.len();
        if terms == 0 {
            return Err(Error::data(
                "texts",
                None,
                format!(
                    "none of the {} labelled ones has a word of two or more letters or digits, or signs alone",
                    texts.len()
                ),
            ));
        }
        let mut seen = labels.clone();
        seen.sort_unstable();
        seen.dedup();
        let y: Vec<usize> = labels.iter().filter_map(|c| seen.binary_search(c).ok()).collect();
        let t = self.coefficients(&Sparse::of(&rows, terms), terms, &y, seen.len())?;
        let (mut weight, mut bias) = (vec![0f32; classes * terms], vec![NEVER; classes]);
        for (class, t) in seen.iter().zip(t.chunks_exact(terms + 1)) {
            let weight = &mut weight[class * terms..(class + 1) * terms];
            weight.iter_mut().zip(t).for_each(|(w, t)| *w = *t as f32);
            bias[*class] = t[terms] as f32;
        }
        let mut out = BTreeMap::from(vocabulary.to_tensors()?);
        out.insert("weight".to_owned(), Tensor::from_vec(weight, (classes, terms), &Device::Cpu)?);
        out.insert("bias".to_owned(), Tensor::from_vec(bias, classes, &Device::Cpu)?);
        Ok(out)
    }

    fn build(&self, _: &Schema, field: &Field, scope: &Scope) -> Result<Box<dyn Module>> {
        let classes = class_count(field)?;
        let all = ["vocabulary", "offsets", "idf", "weight", "bias"].map(|name| scope.find(name));
        let [Some(vocabulary), Some(offsets), Some(idf), Some(weight), Some(bias)] = all else {
            return Ok(Box::new(Uniform { classes }));
        };
        let wrong = |(name, message)| Error::param(scope.full(name), message);
        let vocabulary = Vocabulary::of_tensors(self.terms(), &vocabulary, &offsets, &idf).map_err(wrong)?;
        if weight.dims() != [classes, vocabulary.len()] || bias.dims() != [classes] {
            let message = format!("{:?} for {classes} classes and {} terms", weight.dims(), vocabulary.len());
            return Err(Error::param(scope.full("weight"), message));
        }
        let coefficients = Tensor::cat(&[weight, bias.unsqueeze(1)?], 1)?.to_device(&Device::Cpu)?;
        let coefficients = coefficients.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        Ok(Box::new(TextClassifier { vocabulary, coefficients, classes }))
    }
}

struct TextClassifier {
    vocabulary: Vocabulary,
    /// `[classes × (terms + 1)]`, the bias last.
    coefficients: Vec<f64>,
    classes: usize,
}

impl TextClassifier {
    fn logits(&self, text: &str) -> Vec<f32> {
        let row = self.vocabulary.row(&Words::of(text));
        self.coefficients.chunks_exact(self.vocabulary.len() + 1).map(|t| product(&row, t) as f32).collect()
    }
}

impl Module for TextClassifier {
    fn forward(&self, acts: &Acts, cx: &mut Ctx) -> Result<Acts> {
        let x = acts.get(HIDDEN)?;
        let texts = texts(x, &cx.rows)?;
        let out = parallel::map(texts.len(), &|i| self.logits(&texts[i])).concat();
        let out = Tensor::from_vec(out, (texts.len(), self.classes), &Device::Cpu)?;
        Ok(Acts::new().with(LOGITS, out.to_device(x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{class_field, features, labels, logits, softmax};
    use super::*;
    use serde_json::{Value, json};

    /// What scikit-learn says; `tests/goldens/generate_tfidf.py` of the repository writes it.
    fn goldens() -> Value {
        serde_json::from_str(include_str!("../../goldens/tfidf.json")).unwrap()
    }

    fn head(options: Value) -> TfidfLogisticRegression {
        TfidfLogisticRegression::new(serde_json::from_value(options).unwrap()).unwrap()
    }

    fn strings(v: &Value) -> Vec<String> {
        serde_json::from_value(v.clone()).unwrap()
    }

    /// Texts as a data set hands them out, filled up with zeros.
    fn tensor(texts: &[String]) -> Result<Tensor> {
        let width = texts.iter().map(String::len).max().unwrap_or_default();
        let mut bytes = vec![0u8; texts.len() * width];
        for (row, text) in bytes.chunks_exact_mut(width).zip(texts) {
            row[..text.len()].copy_from_slice(text.as_bytes());
        }
        Ok(Tensor::from_vec(bytes, (texts.len(), width), &Device::Cpu)?)
    }

    #[test]
    fn terms_weights_and_logits_are_those_of_scikit_learn() -> Result<()> {
        let g = goldens();
        let (texts, queries) = (strings(&g["texts"]), tensor(&strings(&g["queries"]))?);
        let (x, none) = (tensor(&texts)?, BTreeMap::new());
        for case in g["cases"].as_array().unwrap() {
            let (head, y) = (head(case["options"].clone()), labels(&case["labels"]));
            let words: Vec<Words> = texts.iter().map(|t| Words::of(t)).collect();
            let vocabulary = Vocabulary::fit(&words, head.terms(), head.0.min_count)?;
            let fitted = head.fit(&features(x.clone()), &y, &class_field(3), &none)?;
            let offsets = fitted["offsets"].to_vec1::<u32>()?;
            let bytes = fitted["vocabulary"].to_vec1::<u8>()?;
            let term = |ends: &[u32]| String::from_utf8(bytes[ends[0] as usize..ends[1] as usize].to_vec()).unwrap();
            assert_eq!(offsets.windows(2).map(term).collect::<Vec<_>>(), strings(&case["terms"]));
            let rows: Vec<Vec<(u32, f64)>> = serde_json::from_value(case["rows"].clone()).unwrap();
            for (row, words) in rows.iter().zip(&words) {
                let ours = vocabulary.row(words);
                assert_eq!(ours.len(), row.len());
                for (a, b) in ours.iter().zip(row) {
                    assert!(a.0 == b.0 && (a.1 - b.1).abs() < 1e-6, "{a:?} is not {b:?}");
                }
            }
            let expected: Vec<Vec<f32>> = serde_json::from_value(case["logits"].clone()).unwrap();
            let ours = logits(&head, Some((&x, &y, &none)), expected[0].len(), &queries)?;
            for (a, b) in ours.iter().flatten().zip(expected.iter().flatten()) {
                assert!((a - b).abs() < 1e-4, "{}: {a} is not {b}", case["options"]);
            }
        }
        Ok(())
    }

    #[test]
    fn a_class_without_rows_has_no_probability_and_one_alone_all_of_it() -> Result<()> {
        let x = tensor(&["good dress", "good skirt", "bad dress", "bad skirt"].map(str::to_owned))?;
        let q = tensor(&["a good dress".to_owned()])?;
        let say = |y: [u32; 4]| -> Result<Vec<f32>> {
            let y = Tensor::new(&y, &Device::Cpu)?;
            let all = logits(&TfidfLogisticRegression::default(), Some((&x, &y, &BTreeMap::new())), 3, &q)?;
            Ok(softmax(&all[0]))
        };
        let p = say([2, 2, 0, 0])?;
        assert!(p[2] > p[0] && p[1] == 0.0, "{p:?}");
        assert_eq!(say([1; 4])?, [0.0, 1.0, 0.0]);
        Ok(())
    }

    #[test]
    fn few_short_texts_are_told_apart() -> Result<()> {
        for texts in [["red dress", "blue jeans"], ["好吃", "难看"], ["\u{1f600}", "\u{1f622}\u{1f622}"], ["!!", "??"]]
        {
            let x = tensor(&texts.map(str::to_owned))?;
            let (y, none) = (Tensor::new(&[0u32, 1], &Device::Cpu)?, BTreeMap::new());
            let out = logits(&TfidfLogisticRegression::default(), Some((&x, &y, &none)), 2, &x)?;
            assert!(out[0][0] > out[0][1] && out[1][1] > out[1][0], "{texts:?}: {out:?}");
        }
        Ok(())
    }

    #[test]
    fn the_same_bits_on_any_pool() -> Result<()> {
        let g = goldens();
        let (x, y) = (tensor(&strings(&g["texts"]))?, labels(&g["cases"][0]["labels"]));
        let fit = || {
            let fitted = TfidfLogisticRegression::default()
                .fit(&features(x.clone()), &y, &class_field(3), &BTreeMap::new())
                .unwrap();
            fitted["weight"].to_vec2::<f32>().unwrap()
        };
        let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(fit);
        assert!(on(1) == on(2) && on(1) == on(3));
        Ok(())
    }

    #[test]
    fn wrong_options_texts_and_tensors_are_named() -> Result<()> {
        for (key, value) in [("ngrams", json!(0)), ("ngrams", json!(9)), ("min_count", json!(0)), ("c", json!(0.0))] {
            let options = serde_json::from_value(json!({ key: value })).unwrap();
            let e = TfidfLogisticRegression::new(options).unwrap_err().to_string();
            assert!(e.starts_with(key), "{e}");
        }
        let (h, y) = (TfidfLogisticRegression::default(), Tensor::new(&[0u32, 1], &Device::Cpu)?);
        let fit = |x: Tensor| h.fit(&features(x), &y, &class_field(2), &BTreeMap::new()).unwrap_err().to_string();
        for texts in [[" ", "_"], ["a", "I b"]] {
            let said = fit(tensor(&texts.map(str::to_owned))?);
            assert!(said.contains("none of the 2 labelled ones has a word of two or more letters or digits"), "{said}");
        }
        assert!(fit(tensor(&["red".to_owned()])?).contains("2 labels for 1 rows"));
        assert!(fit(Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?).contains("u8 [rows, bytes]"));
        assert_eq!(logits(&h, None, 2, &tensor(&["red".to_owned()])?)?, [[0.0, 0.0]]);
        Ok(())
    }

    /// Reads `LABEL<tab>TEXT` lines of `$TEXTS.train.txt` and `$TEXTS.test.txt`, and of others with the names in
    /// `$PARTS`.
    #[test]
    #[ignore = "a measurement on files of one's own"]
    fn how_well_and_fast_it_does_on_texts_in_files() -> Result<()> {
        let read = |part: &str| -> Result<(Tensor, Vec<u32>)> {
            let path = format!("{}.{part}.txt", std::env::var("TEXTS").unwrap());
            let all = std::fs::read_to_string(path).unwrap();
            let lines: Vec<(&str, &str)> = all.lines().map(|l| l.split_once('\t').unwrap()).collect();
            let texts: Vec<String> = lines.iter().map(|l| l.1.to_owned()).collect();
            Ok((tensor(&texts)?, lines.iter().map(|l| l.0.parse().unwrap()).collect()))
        };
        let parts = std::env::var("PARTS").unwrap_or("train test".to_owned());
        let (train, test) = parts.split_once(' ').unwrap();
        let ((x, y), (q, answers)) = (read(train)?, read(test)?);
        let y = Tensor::new(y, &Device::Cpu)?;
        let options: Vec<Value> = serde_json::from_str(&std::env::var("OPTIONS").unwrap_or("[{}]".to_owned())).unwrap();
        for o in options {
            let start = std::time::Instant::now();
            let out = logits(&head(o.clone()), Some((&x, &y, &BTreeMap::new())), 2, &q)?;
            let took = start.elapsed();
            let says = |class: u32, row: usize| u32::from(out[row][1] >= out[row][0]) == class;
            let count = |f: &dyn Fn(usize) -> bool| (0..answers.len()).filter(|i| f(*i)).count() as f64;
            let f1 = |class: u32| {
                let both = count(&|i| says(class, i)) + count(&|i| answers[i] == class);
                2.0 * count(&|i| says(class, i) && answers[i] == class) / both
            };
            let mut score: Vec<(f32, u32)> = out.iter().zip(&answers).map(|(z, a)| (z[1] - z[0], *a)).collect();
            score.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (mut below, mut pairs) = (0.0, 0.0);
            score.iter().for_each(|(_, a)| if *a == 0 { below += 1.0 } else { pairs += below });
            let auc = pairs / (below * (answers.len() as f64 - below));
            println!("{parts} {o}: macro F1 {:.4}, AUC {auc:.4}, fit and prediction {took:?}", (f1(0) + f1(1)) / 2.0);
        }
        Ok(())
    }
}
