//! Translation of whole images with trained generators. Method §2.

use std::convert::Infallible;

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::networks::{Generators, SynDiffConfig};
use crate::diffusion::Schedule;
use crate::domain::Domain;
use crate::error::Result;
use crate::imaging::{Plane, Window};
use crate::random::Stream;
use crate::tensors::{to_planes, to_tensor};
use crate::tiles::{Blender, Surrounded, Tile, TileGrid};

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

    /// Side of a tile in pixels.
    pub fn tile(&self) -> usize {
        self.tile
    }

    /// The image in the look of `to`.
    ///
    /// Tiles overlap and are blended with a smooth window. The noise of a pixel comes from `noise` and the pixel's place
    /// in the image, so tiles agree where they overlap and no seam shows. The image is translated with mirrored
    /// surroundings that are cut off again, since the networks pad with zeros and draw a frame where they do.
    pub fn translate(&self, image: &Plane, to: Domain, noise: &Stream) -> Plane {
        whole(image, |size, window, source| self.translate_window(size, window, source, to, noise))
    }

    /// A window of what [`translate`](Self::translate) makes of an image of `size` rows and columns; `source` gives the
    /// windows of the image that are needed for it. Windows fit together, since nothing depends on how they are cut.
    pub fn translate_window<E>(
        &self,
        size: [usize; 2],
        window: &Window,
        source: impl FnOnce(&Window) -> std::result::Result<Plane, E>,
        to: Domain,
        noise: &Stream,
    ) -> std::result::Result<Plane, E> {
        let image = self.surrounded(size);
        self.in_tiles(image, &image.outer(window), source, |source, tiles| {
            self.translate_tensor(source, to, noise, tiles)
        })
    }

    /// The image in the look of `to` by the non-diffusive translator alone, in the same tiles: one pass without noise.
    pub fn translate_alone(&self, image: &Plane, to: Domain) -> Plane {
        let translator = self.generators.translator_to(to);
        whole(image, |size, window, source| {
            let image = self.surrounded(size);
            self.in_tiles(image, &image.outer(window), source, |source, _| translator.forward(source))
        })
    }

    /// The reverse walk without surroundings.
    fn translate_bare(&self, image: &Plane, to: Domain, noise: &Stream) -> Plane {
        whole(image, |size, window, source| {
            self.in_tiles(Surrounded { size, margin: 0 }, window, source, |source, tiles| {
                self.translate_tensor(source, to, noise, tiles)
            })
        })
    }

    fn surrounded(&self, size: [usize; 2]) -> Surrounded {
        Surrounded { size, margin: self.tile / 4 }
    }

    /// Has the tiles that touch a window of `image` translated, `[tiles, 1, height, width]`, and blends them.
    fn in_tiles<E>(
        &self,
        image: Surrounded,
        window: &Window,
        source: impl FnOnce(&Window) -> std::result::Result<Plane, E>,
        translate: impl Fn(Tensor<4>, &[Tile]) -> Tensor<4>,
    ) -> std::result::Result<Plane, E> {
        let [height, width] = image.outer_size();
        let grid = TileGrid::new(height, width, self.tile, self.tile / 4, self.config.multiple());
        let tiles = grid.touching(window);
        let covered = covered(&tiles);
        let part = image.part(&covered, source)?;
        let mut blender = Blender::of(&grid, window);
        for tiles in tiles.chunks(TILES_AT_ONCE) {
            let source: Vec<Plane> = tiles.iter().map(|tile| part.part(&within(tile, &covered))).collect();
            let translated = translate(to_tensor(&source, &self.device), tiles);
            for (tile, translated) in tiles.iter().zip(to_planes(translated)) {
                blender.add(tile, &translated);
            }
        }
        Ok(blender.finish())
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
            let times = vec![config.embedding.time_of_step(t); tiles.len()];
            generator.forward(x, source.clone(), &times, Tensor::from_data(latent, (&self.device, DType::F32)))
        })
    }
}

/// The whole of a plane by a function that makes windows from windows.
fn whole(
    image: &Plane,
    make: impl FnOnce(
        [usize; 2],
        &Window,
        &dyn Fn(&Window) -> std::result::Result<Plane, Infallible>,
    ) -> std::result::Result<Plane, Infallible>,
) -> Plane {
    let size = [image.height(), image.width()];
    make(size, &image.window(), &|window| Ok(image.part(window))).unwrap_or_else(|never| match never {})
}

/// The rectangle that tiles of one grid cover.
fn covered(tiles: &[Tile]) -> Window {
    let (first, last) = (tiles[0], tiles[tiles.len() - 1]);
    Window { rows: first.top..last.top + last.height, columns: first.left..last.left + last.width }
}

/// Where a tile lies in a rectangle.
fn within(tile: &Tile, window: &Window) -> Window {
    let (top, left) = (tile.top - window.rows.start, tile.left - window.columns.start);
    Window { rows: top..top + tile.height, columns: left..left + tile.width }
}

fn tile_noise(stream: &Stream, tile: &Tile) -> impl Iterator<Item = f32> {
    let tile = *tile;
    (0..tile.height * tile.width).map(move |i| stream.normal_at(tile.top + i / tile.width, tile.left + i % tile.width))
}

#[cfg(test)]
impl ImageTranslator {
    /// Narrow generators with random weights, on tiles of this side.
    pub(crate) fn tiny(tile: usize) -> Self {
        use crate::nn::{DiffusiveGeneratorConfig, Init, Precision, TranslatorConfig};
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
        Self::new(generators, &config, tile, &device).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let translator = ImageTranslator::tiny(32);
        for image in [Plane::from_fn(90, 100, |_, _| 0.5), Plane::from_fn(90, 100, |y, x| (y + 2 * x) as f32 / 300.0)] {
            let translated = translator.translate(&image, Domain::Target, &Stream::new(3));
            let (at_border, elsewhere) = largest_step_at_borders_and_elsewhere(&translated);
            assert!(elsewhere > 0.0, "a translation that is flat shows nothing");
            assert!(at_border <= elsewhere, "step of {at_border} at tile borders, {elsewhere} elsewhere");
        }
    }

    #[test]
    fn the_translator_alone_translates_any_size_as_it_does_a_tile() {
        let translator = ImageTranslator::tiny(32);
        let image = Plane::from_fn(33, 90, |y, x| ((3 * y + 7 * x) % 11) as f32 / 10.0);
        let alone = translator.translate_alone(&image, Domain::Target);
        assert_eq!((alone.height(), alone.width()), (33, 90));
        assert_ne!(alone, translator.translate_alone(&image, Domain::Labelled));
        // Where the first tile overlaps no other, the network's own answer on the first tile.
        let surrounded = Surrounded { size: [33, 90], margin: 8 };
        let tile = Tile { top: 0, left: 0, height: 32, width: 32 };
        let network = translator.generators.translator_to(Domain::Target);
        let source = surrounded.part::<Infallible>(&within(&tile, &Window { rows: 0..32, columns: 0..32 }), |needed| {
            Ok(image.part(needed))
        });
        let answer = to_planes(network.forward(to_tensor(&[source.unwrap()], &Device::flex()))).remove(0);
        for place in 8..16 {
            assert!((alone.get(place - 8, place - 8) - answer.get(place, place)).abs() < 1e-6);
        }
    }

    #[test]
    fn windows_of_a_translation_are_those_of_the_whole_and_ask_for_little_of_the_image() {
        let translator = ImageTranslator::tiny(32);
        let image = Plane::from_fn(150, 120, |y, x| ((3 * y + 7 * x) % 11) as f32 / 10.0);
        let noise = Stream::new(3);
        let whole = translator.translate(&image, Domain::Target, &noise);
        for window in [Window { rows: 0..150, columns: 0..7 }, Window { rows: 61..80, columns: 100..120 }] {
            let source = |needed: &Window| {
                // A tile before and a tile behind.
                assert!(needed.height() <= window.height() + 64 && needed.width() <= window.width() + 64);
                Ok::<_, Infallible>(image.part(needed))
            };
            let part = translator.translate_window([150, 120], &window, source, Domain::Target, &noise).unwrap();
            let expected = whole.part(&window);
            let difference = part.pixels().iter().zip(expected.pixels()).map(|(a, b)| (a - b).abs());
            assert!(difference.fold(0.0, f32::max) < 1e-6);
        }
    }

    #[test]
    fn any_size_is_translated_reproducibly() {
        let translator = ImageTranslator::tiny(32);
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
