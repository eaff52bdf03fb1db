//! The digits: 8 x 8 pixels of real handwriting, and which digit each one is.

use std::error::Error;

pub const PIXELS: usize = 64;
pub const CLASSES: usize = 10;

/// Rows of the file that train; the rest, 360, test.
pub const TRAINING_ROWS: usize = 1437;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits.csv");

/// Packed rows of pixels from 0 to 1, and one label for each row.
#[derive(Clone, Default)]
pub struct Digits {
    pub pixels: Vec<f32>,
    pub labels: Vec<u8>,
}

impl Digits {
    /// Reads the file and divides it into digits to train on and digits to test with.
    pub fn load() -> Result<(Digits, Digits), Box<dyn Error>> {
        let mut file = csv::Reader::from_path(FILE).map_err(|e| format!("{FILE}: {e}"))?;
        let (mut train, mut test) = (Digits::default(), Digits::default());
        for (row, record) in file.deserialize::<Vec<u8>>().enumerate() {
            let record = record.map_err(|e| format!("{FILE}: {e}"))?;
            let (&label, pixels) = record.split_last().ok_or("a row without a label")?;
            if pixels.len() != PIXELS {
                return Err(format!("{FILE}: row {row} has {} pixels", pixels.len()).into());
            }
            let set = if row < TRAINING_ROWS { &mut train } else { &mut test };
            set.pixels.extend(pixels.iter().map(|&p| f32::from(p) / 16.0));
            set.labels.push(label);
        }
        if test.len() == 0 {
            return Err(format!("{FILE}: no more than {} digits", train.len()).into());
        }
        Ok((train, test))
    }

    /// The number of digits.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// A mini-batch: copies of these rows.
    pub fn batch(&self, rows: &[usize]) -> Digits {
        let pixels = rows.iter().flat_map(|&r| &self.pixels[r * PIXELS..][..PIXELS]).copied();
        let labels = rows.iter().map(|&r| self.labels[r]);
        Digits { pixels: pixels.collect(), labels: labels.collect() }
    }
}
