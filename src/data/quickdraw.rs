//! The bundled drawings: from Google's Quick, Draw! Dataset (CC-BY 4.0), see `data/quickdraw/README.md`.

use crate::data::bundled::cells;
use crate::data::{Dataset, Labels, Values};
use crate::error::{Error, Result};

const SHEET: &[u8] = include_bytes!("../../data/quickdraw/quickdraw.png");
const LIST: &str = include_str!("../../data/quickdraw/quickdraw.csv");
const SHAPE: [usize; 3] = [28, 28, 1];
const COLUMNS: usize = 40;

/// The 1,000 bundled drawings at 28x28x1, white on black, 100 of each of ten categories, which are their labels and take
/// turns. Names are the category and the line in its file: `cat 7`.
///
/// # Errors
/// None, unless the binary was built from damaged files.
pub fn bundled_quickdraw() -> Result<Dataset> {
    let damaged = |problem: String| Error::file("data/quickdraw", format!("the bundled data is damaged: {problem}"));
    let (mut names, mut categories) = (Vec::new(), Vec::new());
    for row in csv::Reader::from_reader(LIST.as_bytes()).deserialize() {
        let (category, line): (String, u32) = row.map_err(|e| damaged(e.to_string()))?;
        names.push(format!("{category} {line}"));
        categories.push(category);
    }
    let sheet =
        image::load_from_memory_with_format(SHEET, image::ImageFormat::Png).map_err(|e| damaged(e.to_string()))?;
    let sheet = sheet.into_luma8();
    let [height, width, _] = SHAPE;
    if sheet.width() as usize != COLUMNS * width || (sheet.height() as usize) < names.len().div_ceil(COLUMNS) * height {
        return Err(damaged(format!("the sheet is {}x{}", sheet.width(), sheet.height())));
    }
    let values = Values::U8(cells(sheet.as_raw(), COLUMNS, SHAPE, names.len()).into());
    Ok(Dataset {
        labels: Some(Labels::from_names(&categories)),
        origin: "bundled Quick, Draw! drawings".into(),
        ..Dataset::new(SHAPE, values, names)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn all_drawings_are_in_their_cells() {
        let data = bundled_quickdraw().unwrap();
        assert_eq!((data.len(), data.shape, data.values.len()), (1000, [28, 28, 1], 784_000));
        let labels = data.labels.as_ref().unwrap();
        assert_eq!((labels.names.len(), labels.counts()), (10, vec![100; 10]));
        assert!(!labels.are_sorted());
        assert_eq!((data.names[0].as_str(), data.names[999].as_str()), ("apple 1", "umbrella 100"));
        assert_eq!((labels.name(0), labels.name(11)), (Some("apple"), Some("bicycle")));
        let Values::U8(values) = &data.values else { panic!("wanted bytes") };
        let ink: Vec<usize> =
            values.chunks(784).map(|drawing| drawing.iter().filter(|&&pixel| pixel > 127).count()).collect();
        assert!(ink.iter().all(|ink| (10..500).contains(ink)), "strokes on a ground: {ink:?}");
        // The first numbers of line 3 of cat.ndjson.gz that are not 0, times 255.
        let cat = data.names.iter().position(|name| name == "cat 3").unwrap();
        let first: Vec<u8> = values[cat * 784..][..784].iter().copied().filter(|&x| x > 0).take(4).collect();
        assert_eq!(first, [197, 255, 255, 114]);
    }
}
