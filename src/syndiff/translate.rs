//! Translation of whole images with trained generators. Method §2.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::networks::{Generators, SynDiffConfig};
use crate::diffusion::Schedule;
use crate::domain::Domain;
use crate::error::Result;
use crate::imaging::Plane;
use crate::random::Stream;
use crate::tensors::{to_planes, to_tensor};
use crate::tiles::{Blender, Tile, TileGrid, cut, inner, surround};

/// Tiles that go through the networks together.
const TILES_AT_ONCE: usize = 4;

/// Trained generators, ready to translate images of any size.
#[derive(Debug)]
pub struct ImageTranslator {
    generators: Generators,
    config: SynDiffConfig,
    schedule: Schedule,
    tile: usize,
    device: Device,
}

impl ImageTranslator {
    /// A translator that works in tiles of side `tile` (rounded up to what the networks can halve).
    pub fn new(generators: Generators, config: &SynDiffConfig, tile: usize, device: &Device) -> Result<Self> {
        let tile = tile.max(1).next_multiple_of(config.multiple());
        let schedule = config.schedule.init()?;
        Ok(Self { generators, config: config.clone(), schedule, tile, device: device.clone() })
    }

    /// The image in the look of `to`.
    ///
    /// Tiles overlap and are blended with a smooth window. The noise of a pixel comes from `noise` and the pixel's place
    /// in the image, so tiles agree where they overlap and no seam shows. The image is translated with mirrored
    /// surroundings that are cut off again, since the networks pad with zeros and draw a frame where they do.
    pub fn translate(&self, image: &Plane, to: Domain, noise: &Stream) -> Plane {
        let margin = self.tile / 4;
        inner(&self.translate_bare(&surround(image, margin), to, noise), margin)
    }

    /// The image in the look of `to` by the non-diffusive translator alone, in the same tiles: one pass without noise.
    pub fn translate_alone(&self, image: &Plane, to: Domain) -> Plane {
        let margin = self.tile / 4;
        let translator = self.generators.translator_to(to);
        inner(&self.in_tiles(&surround(image, margin), |source, _| translator.forward(source)), margin)
    }

    /// The reverse walk without surroundings.
    fn translate_bare(&self, image: &Plane, to: Domain, noise: &Stream) -> Plane {
        self.in_tiles(image, |source, tiles| self.translate_tensor(source, to, noise, tiles))
    }

    /// Cuts an image into tiles, has them translated, `[tiles, 1, height, width]`, and blends them.
    fn in_tiles(&self, image: &Plane, translate: impl Fn(Tensor<4>, &[Tile]) -> Tensor<4>) -> Plane {
        let grid = TileGrid::new(image.height(), image.width(), self.tile, self.tile / 4, self.config.multiple());
        let mut blender = Blender::new(&grid);
        for tiles in grid.tiles().chunks(TILES_AT_ONCE) {
            let source: Vec<Plane> = tiles.iter().map(|tile| cut(image, tile)).collect();
            let translated = translate(to_tensor(&source, &self.device), tiles);
            for (tile, translated) in tiles.iter().zip(to_planes(translated)) {
                blender.add(tile, &translated);
            }
        }
        blender.finish()
    }

    /// Translates images that have nothing to do with one another; image i draws the noise of child i.
    ///
    /// A crop of exactly one tile, as training sees, gets no surroundings: scores of crops then compare like with like.
    pub fn translate_each(&self, images: &[Plane], to: Domain, noise: &Stream) -> Vec<Plane> {
        let translate = |(i, image): (usize, &Plane)| {
            let noise = noise.child(i as u64);
            if [image.height(), image.width()] == [self.tile; 2] {
                self.translate_bare(image, to, &noise)
            } else {
                self.translate(image, to, &noise)
            }
        };
        images.iter().enumerate().map(translate).collect()
    }

    /// The reverse walk of the diffusion with the image itself as source (in training, the source is an estimate).
    fn translate_tensor(&self, image: Tensor<4>, to: Domain, stream: &Stream, tiles: &[Tile]) -> Tensor<4> {
        let generator = self.generators.diffusive_to(to);
        let config = &self.config.generator;
        let source = image;
        let noise = |t: usize| {
            let stream = stream.child("noise").child(t as u64);
            let values: Vec<f32> = tiles.iter().flat_map(|tile| tile_noise(&stream, tile)).collect();
            Tensor::from_data(TensorData::new(values, source.dims()), (&self.device, DType::F32))
        };
        self.schedule.walk_back(noise, |x, t| {
            // One latent for the whole image: it sets the style of every tile alike.
            let latent = stream.child("latent").child(t as u64).normals(config.latent_dim).repeat(tiles.len());
            let latent = TensorData::new(latent, [tiles.len(), config.latent_dim]);
            let time = TensorData::new(vec![config.embedding.time_of_step(t); tiles.len()], [tiles.len()]);
            generator.forward(
                x,
                source.clone(),
                Tensor::from_data(time, (&self.device, DType::F32)),
                Tensor::from_data(latent, (&self.device, DType::F32)),
            )
        })
    }
}

fn tile_noise(stream: &Stream, tile: &Tile) -> impl Iterator<Item = f32> {
    let tile = *tile;
    (0..tile.height * tile.width).map(move |i| stream.normal_at(tile.top + i / tile.width, tile.left + i % tile.width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{DiffusiveGeneratorConfig, Init, Precision, TranslatorConfig};

    fn tiny() -> ImageTranslator {
        let config = SynDiffConfig {
            crop: 32,
            generator: DiffusiveGeneratorConfig {
                width: 8,
                multipliers: vec![1, 1],
                blocks: 1,
                latent_dim: 4,
                style_dim: 8,
                mapping_layers: 1,
                ..Default::default()
            },
            translator: TranslatorConfig { width: 4, blocks: 1 },
            ..SynDiffConfig::default()
        };
        let device = Device::flex();
        let generators = Generators::new(&config, &mut Init::new(Stream::new(1), &device, Precision::F32));
        ImageTranslator::new(generators, &config, 32, &device).unwrap()
    }

    fn largest_step_at_borders_and_elsewhere(plane: &Plane) -> (f32, f32) {
        let (mut at_border, mut elsewhere) = (0f32, 0f32);
        for y in 0..plane.height() {
            for x in 1..plane.width() {
                let step = (plane.get(y, x) - plane.get(y, x - 1)).abs();
                // Tiles of 32 px every 24 px begin and end here, counted from the start of the surroundings.
                let place = x + 8;
                let border = place % 24 == 0 || (place >= 32 && (place - 32) % 24 == 0);
                let largest = if border { &mut at_border } else { &mut elsewhere };
                *largest = largest.max(step);
            }
        }
        (at_border, elsewhere)
    }

    #[test]
    fn translations_of_smooth_images_have_no_step_at_tile_borders() {
        let translator = tiny();
        for image in [Plane::from_fn(90, 100, |_, _| 0.5), Plane::from_fn(90, 100, |y, x| (y + 2 * x) as f32 / 300.0)] {
            let translated = translator.translate(&image, Domain::Target, &Stream::new(3));
            let (at_border, elsewhere) = largest_step_at_borders_and_elsewhere(&translated);
            assert!(elsewhere > 0.0, "a translation that is flat shows nothing");
            assert!(at_border <= elsewhere, "step of {at_border} at tile borders, {elsewhere} elsewhere");
        }
    }

    #[test]
    fn the_translator_alone_translates_any_size_as_it_does_a_tile() {
        let translator = tiny();
        let image = Plane::from_fn(33, 90, |y, x| ((3 * y + 7 * x) % 11) as f32 / 10.0);
        let alone = translator.translate_alone(&image, Domain::Target);
        assert_eq!((alone.height(), alone.width()), (33, 90));
        assert_ne!(alone, translator.translate_alone(&image, Domain::Labelled));
        // Where the first tile overlaps no other, the network's own answer on the first tile.
        let surrounded = surround(&image, 8);
        let tile = Tile { top: 0, left: 0, height: 32, width: 32 };
        let network = translator.generators.translator_to(Domain::Target);
        let answer = to_planes(network.forward(to_tensor(&[cut(&surrounded, &tile)], &Device::flex()))).remove(0);
        for place in 8..16 {
            assert!((alone.get(place - 8, place - 8) - answer.get(place, place)).abs() < 1e-6);
        }
    }

    #[test]
    fn any_size_is_translated_reproducibly() {
        let translator = tiny();
        for (height, width) in [(1, 1), (7, 90), (32, 32), (33, 31)] {
            let image = Plane::from_fn(height, width, |y, x| ((3 * y + 7 * x) % 11) as f32 / 10.0);
            let once = translator.translate(&image, Domain::Labelled, &Stream::new(3));
            assert_eq!((once.height(), once.width()), (height, width));
            assert!(once.pixels().iter().all(|v| (0.0..=1.0).contains(v)));
            assert_eq!(once, translator.translate(&image, Domain::Labelled, &Stream::new(3)));
            let other = translator.translate(&image, Domain::Labelled, &Stream::new(4));
            assert!(height * width == 1 || once != other);
        }
    }
}
