//! What PyTorch computes for small models, and siskin must find: `tests/goldens/steps/` and `tests/goldens/seq2seq/`, made by `make_steps.py`
//! and `make_seq2seq.py` beside them.

mod config;
mod seq2seq;
mod steps;

use config::text;
use serde_json::Value;
use siskin_format::ModelConfig;
use siskin_tests::models;
use siskin_trainer::float::Float;
use siskin_trainer::params::ParamStore;

/// The golden of a name.
fn read(folder: &str, name: &str) -> Value {
    let path = siskin_tests::golden(folder).join(name).with_extension("json");
    let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(text(&json, "made_by").contains("PyTorch"));
    json
}

/// Names of all goldens of a folder, sorted.
fn names(folder: &str) -> Vec<String> {
    let files = std::fs::read_dir(siskin_tests::golden(folder)).unwrap().map(|f| f.unwrap().path());
    let mut names: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The golden's weights, after a look that PyTorch had the very tensors of the schema.
fn weights<T: Float>(golden: &Value, config: &ModelConfig) -> ParamStore<T> {
    let mut store = ParamStore::<T>::new(config);
    let theirs = golden["tensors"].as_object().unwrap();
    let layout = store.layout().clone();
    assert_eq!(layout.specs().len(), theirs.len(), "tensors of the schema and of PyTorch's model");
    for (spec, range) in layout.tensors() {
        let shape = if spec.is_vector() { vec![spec.rows] } else { vec![spec.rows, spec.cols] };
        assert_eq!(theirs[&spec.name], serde_json::json!(shape), "{}", spec.name);
        let values = models::values(spec, golden["seed"].as_u64().unwrap());
        for (to, from) in store.values[range].iter_mut().zip(values) {
            *to = T::from_f64(f64::from(from));
        }
    }
    store
}
