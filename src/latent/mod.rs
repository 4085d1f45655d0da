//! What lies behind a code: codes as arrays, their nearest neighbours, the linear baseline that every autoencoder has to
//! beat, the ways between codes and to new ones, and codes in the plane.

pub mod attribute;
pub mod codes;
mod eigen;
pub mod gaussian;
pub mod manifold;
pub mod morph;
pub mod pca;
pub mod search;
pub mod projection;
pub mod tsne;

pub use attribute::AttributeVector;
pub use codes::Codes;
pub use gaussian::Gaussian;
pub use manifold::Manifold;
pub use morph::Interpolation;
pub use pca::Pca;
pub use projection::Projection;
pub use tsne::Tsne;
