//! The checkpoints of nnU-Net v2 (`checkpoint_final.pth`): the weights and the few values that go with them.
//!
//! Nothing in a file is executed. What is neither a tensor nor a plain value (numpy scalars of the log, the device) is
//! passed over where it does not matter and refused where it does.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::Path;

use half::{bf16, f16};
use pytorch_reader::{DType, PickleError, PickleValue, PytorchError, PytorchReader, Tensor};

use crate::error::{Error, Result};
use crate::nn::host_tensor::{HostTensor, HostTensors};
use crate::weights::{check_pytorch_file, check_weight_bytes};

/// The entry that holds the network's state dict.
const WEIGHTS: &str = "network_weights";

/// What a checkpoint of nnU-Net holds of use for prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct NnunetCheckpoint {
    /// Each parameter once, under nnU-Net's name for it.
    pub weights: HostTensors,
    /// The configuration that was trained, such as `2d`.
    pub configuration: Option<String>,
    /// The class of the trainer, such as `nnUNetTrainer`.
    pub trainer: Option<String>,
    /// The axes along which images may be mirrored for averaging, 0 for the height; none when mirroring is not allowed.
    pub mirror_axes: Option<Vec<usize>>,
    /// Epochs of training.
    pub epoch: Option<u64>,
}

impl NnunetCheckpoint {
    /// The checkpoint in a file. Weights of 16 and 64 bits become 32-bit floats.
    pub fn read(path: &Path) -> Result<Self> {
        let refuse = |reason: String| Error::weights(path, reason);
        check_pytorch_file(path)?;
        let explain = |error| explain_failure(path, error);
        let PickleValue::Dict(entries) = PytorchReader::read_pickle_data(path, None).map_err(explain)? else {
            return Err(refuse("it is not a checkpoint of nnU-Net but holds a single value".into()));
        };
        if !entries.contains_key(WEIGHTS) {
            let found = first_names(&entries);
            return Err(refuse(format!("it has no {WEIGHTS}, as checkpoints of nnU-Net v2 have; it has {found}")));
        }
        let table = |value: &PickleValue| if let PickleValue::Dict(table) = value { Some(table.clone()) } else { None };
        let init_args = entry(&entries, "init_args", "a table", table).map_err(refuse)?.unwrap_or_default();
        let text = |value: &PickleValue| if let PickleValue::String(text) = value { Some(text.clone()) } else { None };
        let configuration = entry(&init_args, "configuration", "a name", text).map_err(refuse)?;
        let trainer = entry(&entries, "trainer_name", "a name", text).map_err(refuse)?;
        let axes_name = "inference_allowed_mirroring_axes";
        let mirror_axes = entry(&entries, axes_name, "a list of axes", axes).map_err(refuse)?;
        // No prediction depends on the epoch, so a count that is not understood is no reason to refuse.
        let epoch = entry(&entries, "current_epoch", "a count", |value| count(value)?.try_into().ok()).unwrap_or(None);

        let tensors = PytorchReader::with_top_level_key(path, WEIGHTS).map_err(explain)?.into_tensors();
        Ok(Self { weights: read_weights(path, tensors)?, configuration, trainer, mirror_axes, epoch })
    }
}

fn explain_failure(path: &Path, error: PytorchError) -> Error {
    let reason = match error {
        PytorchError::Io(error) if error.raw_os_error().is_some() => return Error::io("read", path)(error),
        PytorchError::Pickle(PickleError::UnsupportedType(name)) => format!(
            "it holds tensors as {name}, which is not understood; save the weights in nnU-Net as ordinary dense tensors"
        ),
        error => format!("it is not a complete PyTorch checkpoint ({error}); copy or download it again"),
    };
    Error::weights(path, reason)
}

/// Up to eight names of entries, in alphabetical order.
fn first_names(entries: &HashMap<String, PickleValue>) -> String {
    let mut names: Vec<&str> = entries.keys().map(String::as_str).collect();
    names.sort_unstable();
    match names.len() {
        0 => "nothing".into(),
        1..=8 => names.join(", "),
        all => format!("{} and {} more", names[..8].join(", "), all - 8),
    }
}

/// The value of an entry, if it is there and not `None`; the error names the entry and what it holds instead.
fn entry<T>(
    entries: &HashMap<String, PickleValue>,
    name: &str,
    expected: &str,
    convert: impl Fn(&PickleValue) -> Option<T>,
) -> std::result::Result<Option<T>, String> {
    let found = match entries.get(name) {
        None | Some(PickleValue::None) => return Ok(None),
        Some(value) => value,
    };
    let what = match found {
        PickleValue::Unsupported(class) => format!("a {class}"),
        value => format!("{value:?}").chars().take(60).collect(),
    };
    convert(found).map(Some).ok_or_else(|| format!("its entry {name} is {what} where {expected} is expected"))
}

fn count(value: &PickleValue) -> Option<usize> {
    if let PickleValue::Int(count) = value { usize::try_from(*count).ok() } else { None }
}

fn axes(value: &PickleValue) -> Option<Vec<usize>> {
    if let PickleValue::List(axes) = value { axes.iter().map(count).collect() } else { None }
}

/// The values of a state dict, each parameter once.
fn read_weights(path: &Path, tensors: HashMap<String, Tensor>) -> Result<HostTensors> {
    let refuse = |reason: String| Error::weights(path, reason);
    if tensors.is_empty() {
        return Err(refuse(format!("its {WEIGHTS} holds no tensors")));
    }
    let owned = by_owner(tensors);
    check_weight_bytes(path, owned.values().map(|copies| copies[0].1.byte_len()))?;
    let read = |(owner, copies): (String, Vec<(String, Tensor)>)| {
        let (name, original) = &copies[0];
        let bytes = read_bytes(path, original)?;
        for (other, copy) in &copies[1..] {
            let alike = copy.dtype() == original.dtype() && copy.shape() == original.shape();
            if !alike || read_bytes(path, copy)? != bytes {
                return Err(refuse(format!(
                    "its tensors {name} and {other} should be the same and differ; it was changed after training, take \
                     the file as nnU-Net wrote it"
                )));
            }
        }
        let values = to_f32(original.dtype(), &bytes).map_err(|reason| refuse(format!("tensor {name} {reason}")))?;
        Ok((owner, HostTensor { shape: original.shape().to_vec(), values }))
    };
    owned.into_iter().map(read).collect()
}

/// The tensors of each parameter with their names, in alphabetical order.
///
/// nnU-Net's modules refer to each other, so its state dicts repeat themselves: the decoder lists the encoder, and each
/// block its layers in `all_modules`.
fn by_owner(tensors: HashMap<String, Tensor>) -> BTreeMap<String, Vec<(String, Tensor)>> {
    let mut owned = BTreeMap::<String, Vec<(String, Tensor)>>::new();
    for (name, tensor) in tensors.into_iter().collect::<BTreeMap<_, _>>() {
        owned.entry(original_name(&name)).or_default().push((name, tensor));
    }
    owned
}

/// The name that a tensor has in the module that owns it. The prefixes come from data-parallel training and from
/// `torch.compile`.
fn original_name(name: &str) -> String {
    let mut name = name;
    while let Some(rest) = name.strip_prefix("module.").or_else(|| name.strip_prefix("_orig_mod.")) {
        name = rest;
    }
    let name = name.strip_prefix("decoder.").filter(|rest| rest.starts_with("encoder.")).unwrap_or(name);
    let listed = name.split_once(".all_modules.");
    match listed.and_then(|(block, layer)| Some((block, layer.split_once('.')?))) {
        // The convolution comes first; of the others (dropout, norm, rectifier) only the norm has parameters.
        Some((block, ("0", parameter))) => format!("{block}.conv.{parameter}"),
        Some((block, (_, parameter))) => format!("{block}.norm.{parameter}"),
        None => name.to_string(),
    }
}

fn read_bytes(path: &Path, tensor: &Tensor) -> Result<Vec<u8>> {
    tensor.read().map_err(|error| match error.kind() {
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
            Error::weights(path, format!("it is damaged ({error}); copy or download it again"))
        }
        _ => Error::io("read", path)(error),
    })
}

/// The numbers in the bytes of a tensor; the error says what they are instead.
fn to_f32(dtype: DType, bytes: &[u8]) -> std::result::Result<Vec<f32>, String> {
    fn all<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|number| convert(*number)).collect()
    }
    let values = match dtype {
        DType::F32 => all(bytes, f32::from_ne_bytes),
        DType::F64 => all(bytes, |number| f64::from_ne_bytes(number) as f32),
        DType::F16 => all(bytes, |number| f16::from_ne_bytes(number).to_f32()),
        DType::BF16 => all(bytes, |number| bf16::from_ne_bytes(number).to_f32()),
        other => return Err(format!("holds {other:?}; only floats of 16, 32 and 64 bits are understood")),
    };
    if values.iter().any(|value| !value.is_finite()) {
        return Err("holds values that are not finite; its training failed, take another checkpoint".into());
    }
    Ok(values)
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    // Pickle opcodes (protocol 2) of values as `torch.save` writes them.

    fn text(value: &str) -> Vec<u8> {
        [b"X", &(value.len() as u32).to_le_bytes()[..], value.as_bytes()].concat()
    }

    fn int(value: u8) -> Vec<u8> {
        vec![b'K', value]
    }

    fn tuple(values: &[u8]) -> Vec<u8> {
        [b"(".to_vec(), values.iter().flat_map(|value| int(*value)).collect(), b"t".to_vec()].concat()
    }

    fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let pairs = entries.iter().flat_map(|(name, value)| [text(name), value.clone()].concat());
        [b"}(".to_vec(), pairs.collect(), b"u".to_vec()].concat()
    }

    /// A tensor in the storage `key` of `count` numbers.
    fn tensor(storage: &str, key: &str, count: u8, shape: &[u8], strides: &[u8]) -> Vec<u8> {
        let class = format!("ctorch\n{storage}\n").into_bytes();
        let id = [b"(".to_vec(), text("storage"), class, text(key), text("cpu"), int(count), b"tQ".to_vec()].concat();
        let place = [int(0), tuple(shape), tuple(strides)].concat();
        let hooks = b"\x89ccollections\nOrderedDict\n)R";
        [b"ctorch._utils\n_rebuild_tensor_v2\n(", &id[..], &place, hooks, b"tR"].concat()
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// What is read from a checkpoint with these entries and storages.
    fn read(entries: &[(&str, Vec<u8>)], storages: &[Vec<u8>]) -> Result<NnunetCheckpoint> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint_final.pth");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        let mut add = |name: String, content: &[u8]| {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        };
        add("a/data.pkl".into(), &[b"\x80\x02", &dict(entries)[..], b"."].concat());
        storages.iter().enumerate().for_each(|(key, content)| add(format!("a/data/{key}"), content));
        zip.finish().unwrap();
        NnunetCheckpoint::read(&path)
    }

    fn refusal(entries: &[(&str, Vec<u8>)], storages: &[Vec<u8>]) -> String {
        read(entries, storages).unwrap_err().to_string()
    }

    #[test]
    fn a_checkpoint_gives_weights_and_values_and_passes_over_the_rest() {
        let scalar = b"cnumpy._core.multiarray\nscalar\n(X\x02\0\0\0f8tR".to_vec();
        let device = b"ctorch\ndevice\nX\x03\0\0\0cpu\x85R".to_vec();
        let weights = dict(&[
            ("_orig_mod.a.conv.weight", tensor("FloatStorage", "0", 6, &[3, 2], &[1, 3])),
            ("half", tensor("HalfStorage", "1", 1, &[1], &[1])),
            ("brain", tensor("BFloat16Storage", "2", 1, &[1], &[1])),
            ("double", tensor("DoubleStorage", "3", 1, &[1], &[1])),
        ]);
        let entries = [
            ("network_weights", weights),
            ("logging", dict(&[("ema", scalar.clone())])),
            ("current_epoch", scalar),
            ("init_args", dict(&[("configuration", text("2d")), ("device", device)])),
            ("trainer_name", text("nnUNetTrainer")),
            ("inference_allowed_mirroring_axes", tuple(&[0, 1])),
        ];
        let storages =
            [floats(&[1., 2., 3., 4., 5., 6.]), vec![0x00, 0x3e], vec![0xc0, 0xbf], 0.1f64.to_le_bytes().to_vec()];
        let read = read(&entries, &storages).unwrap();
        let tensor = |shape: &[usize], values: &[f32]| HostTensor { shape: shape.to_vec(), values: values.to_vec() };
        let expected = [
            ("a.conv.weight", tensor(&[3, 2], &[1., 4., 2., 5., 3., 6.])),
            ("brain", tensor(&[1], &[-1.5])),
            ("double", tensor(&[1], &[0.1])),
            ("half", tensor(&[1], &[1.5])),
        ];
        assert_eq!(read.weights, expected.map(|(name, tensor)| (name.to_string(), tensor)).into());
        assert_eq!((read.configuration.as_deref(), read.trainer.as_deref()), (Some("2d"), Some("nnUNetTrainer")));
        assert_eq!((read.mirror_axes, read.epoch), (Some(vec![0, 1]), None));
    }

    #[test]
    fn a_tensor_is_named_after_the_module_that_owns_it() {
        let block = "encoder.stages.0.0.convs.1";
        for (name, owner) in [
            (format!("{block}.conv.weight"), format!("{block}.conv.weight")),
            (format!("{block}.all_modules.0.bias"), format!("{block}.conv.bias")),
            (format!("{block}.all_modules.1.weight"), format!("{block}.norm.weight")),
            (format!("module.decoder.{block}.all_modules.2.bias"), format!("{block}.norm.bias")),
            ("_orig_mod.module.decoder.stages.0.x".into(), "decoder.stages.0.x".into()),
        ] {
            assert_eq!(original_name(&name), owner);
        }
    }

    #[test]
    fn copies_are_dropped_when_equal_and_refused_when_not() {
        let one = |key| tensor("FloatStorage", key, 2, &[2], &[1]);
        let entries = |other| {
            [(
                "network_weights",
                dict(&[("encoder.a.conv.bias", one("0")), ("decoder.encoder.a.conv.bias", one(other))]),
            )]
        };
        let storages = [floats(&[1., 2.]), floats(&[1., 2.5])];
        assert_eq!(read(&entries("0"), &storages).unwrap().weights.len(), 1);
        let error = refusal(&entries("1"), &storages);
        assert!(error.contains("decoder.encoder.a.conv.bias and encoder.a.conv.bias should be the same"), "{error}");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_name() {
        let weights = |tensor: Vec<u8>| ("network_weights", dict(&[("w", tensor)]));
        let float = || tensor("FloatStorage", "0", 1, &[1], &[1]);
        let huge = tensor("FloatStorage", "0", 1, &[255, 255, 255, 64], &[0, 0, 0, 0]);
        let device = b"ctorch\ndevice\nX\x03\0\0\0cpu\x85R".to_vec();
        let storage = [floats(&[1.])];
        for (entries, storages, words) in [
            (
                vec![("state_dict", dict(&[])), ("epoch", int(3))],
                &storage[..],
                "no network_weights, as checkpoints of nnU-Net v2 have; it has epoch, state_dict",
            ),
            (vec![("network_weights", dict(&[]))], &storage, "no tensors"),
            (vec![("network_weights", int(1))], &storage, "does not hold a dictionary"),
            (vec![weights(tensor("LongStorage", "0", 1, &[1], &[1]))], &[vec![0; 8]], "tensor w holds I64"),
            (vec![weights(float())], &[floats(&[f32::NAN])], "tensor w holds values that are not finite"),
            (vec![weights(float())], &[vec![0; 3]], "it is damaged"),
            (vec![weights(float())], &[], "it is damaged"),
            (vec![weights(huge)], &storage, "its weights would take 4244832000 bytes; at most"),
            (
                vec![weights(float()), ("trainer_name", device)],
                &storage,
                "its entry trainer_name is a torch.device where a name is expected",
            ),
            (
                vec![weights(float()), ("inference_allowed_mirroring_axes", int(1))],
                &storage,
                "is Int(1) where a list of axes",
            ),
        ] {
            let error = refusal(&entries, storages);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_checkpoint_of_nnunet_is_read_in_full_and_refused_when_damaged() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/nnunet/nnUNetTrainer__nnUNetPlans__2d");
        let path = Path::new(folder).join("fold_0/checkpoint_final.pth");
        let read = NnunetCheckpoint::read(&path).unwrap();
        assert_eq!(read.weights.len(), 68);
        let first = &read.weights["encoder.stages.0.0.convs.0.conv.weight"];
        assert_eq!((first.shape.as_slice(), first.values[0]), ([8, 1, 3, 3].as_slice(), -0.203_240_57));
        let values = (read.configuration.as_deref(), read.mirror_axes, read.epoch);
        assert_eq!(values, (Some("2d"), Some(vec![0, 1]), Some(2)));

        let dir = tempfile::tempdir().unwrap();
        let damaged = dir.path().join("damaged.pth");
        let whole = std::fs::read(&path).unwrap();
        for (content, words) in [
            (&whole[..whole.len() / 2], "not a complete PyTorch checkpoint"),
            (b"<html>404</html>".as_slice(), "not a complete PyTorch checkpoint"),
            (b"\x80\x02K\x01.", "holds a single value"),
        ] {
            std::fs::write(&damaged, content).unwrap();
            let error = NnunetCheckpoint::read(&damaged).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
