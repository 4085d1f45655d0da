//! What a person sees of a run: figures, picture sheets, curves and one page that holds them all.
//!
//! Everything here is drawn with the bundled font (`data/font`), so that a machine without fonts draws the same bytes.

pub mod animation;
mod axis;
mod font;
pub mod html;
pub mod metrics;
pub mod plot;
mod png;
pub mod roofline;
pub mod row_meter;
pub mod scatter;
pub mod sheet;
pub mod tensorboard;

pub use animation::encode_gif;
pub use html::{Page, Table};
pub use metrics::{Meter, Metrics};
pub use plot::{Curve, Plot};
pub use png::{encode_png, write_png};
pub use row_meter::RowMeter;
pub use scatter::Scatter;
pub use sheet::{Cell, Sheet};
pub use tensorboard::EventWriter;
