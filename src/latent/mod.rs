//! What lies behind a code: the linear baseline that every autoencoder has to beat.

mod eigen;
pub mod pca;

pub use pca::Pca;
