//! What fuzzing found, each with a file that shows it.

use super::{file_of, tiny_config};
use siskin::{Error, Model, Session, SessionOptions};
use siskin_format::DType;
use siskin_format::config::Position;
use std::sync::Arc;

/// A recurrent stack has no limit of its own, but learned positions are rows of a table: behind its last row a session
/// panicked.
#[test]
fn learned_positions_bound_a_recurrent_stack() {
    let mut config = tiny_config();
    (config.position, config.context) = (Position::Learned, 6);
    let model = Arc::new(Model::from_bytes(file_of(&config, DType::F32).bytes).unwrap());
    let mut session = Session::new(model, &SessionOptions::default()).unwrap();
    assert_eq!(session.context(), Some(6));
    session.forward(&[0, 1, 2, 3, 4]).unwrap();
    assert!(matches!(session.forward(&[0, 1]), Err(Error::ContextFull { position: 5, tokens: 2, ctx: 6 })));
    session.forward(&[0]).unwrap();
    assert!(matches!(session.forward(&[0]), Err(Error::ContextFull { .. })));
}
