//! Files of tensors made by others: safetensors and PyTorch checkpoints, read to the host. Nothing in a file is executed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use pytorch_reader::{DType, PytorchReader};
use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};
use crate::nn::host_tensor::{HostTensor, HostTensors};

/// The most bytes that the weights of one network may take: fifteen times nnU-Net's default network in two dimensions.
const MAX_WEIGHT_BYTES: u64 = 2_000_000_000;

/// How many times the bytes of a file its weights may take. Storages may be compressed and shared; but a file of a few
/// bytes can claim any size, by repeating one number.
const MAX_EXPANSION: u64 = 16;

/// The tensors of a safetensors file and its metadata.
pub fn read_safetensors(path: &Path) -> Result<(HostTensors, HashMap<String, String>)> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    parse_safetensors(&bytes).map_err(|reason| Error::weights(path, reason))
}

/// The tensors and the metadata of a safetensors file's bytes; the error is the reason of the refusal.
pub fn parse_safetensors(bytes: &[u8]) -> std::result::Result<(HostTensors, HashMap<String, String>), String> {
    let explain = |error: safetensors::SafeTensorError| format!("it is not a complete safetensors file ({error})");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(explain)?;
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(explain)?
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            if view.dtype() != Dtype::F32 {
                return Err(format!("tensor {name} holds {:?}; only F32 is understood", view.dtype()));
            }
            let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            Ok((name, HostTensor { shape: view.shape().to_vec(), values }))
        })
        .collect::<std::result::Result<_, _>>()?;
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

/// The tensors of a PyTorch state dict (`.pth`, `.pt`). The prefix `module.`, which data-parallel training adds to every
/// key, is dropped.
pub fn read_pytorch(path: &Path) -> Result<HostTensors> {
    let refuse = |reason: String| Error::weights(path, reason);
    check_pytorch_file(path)?;
    let reader = PytorchReader::new(path)
        .map_err(|error| refuse(format!("it is not a complete PyTorch state dict of tensors ({error})")))?;
    check_weight_bytes(path, reader.tensors().values().map(|tensor| tensor.byte_len()))?;
    let tensors: HostTensors = reader
        .tensors()
        .iter()
        .map(|(name, tensor)| {
            if tensor.dtype() != DType::F32 {
                return Err(refuse(format!(
                    "tensor {name} holds {:?}; only 32-bit floats are understood",
                    tensor.dtype()
                )));
            }
            let bytes = tensor.read().map_err(Error::io("read", path))?;
            let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let name = name.strip_prefix("module.").unwrap_or(name).to_string();
            Ok((name, HostTensor { shape: tensor.shape().to_vec(), values }))
        })
        .collect::<Result<_>>()?;
    if tensors.is_empty() {
        return Err(refuse("it holds no tensors; give the file with the generator's weights (gen_…_N.pth)".into()));
    }
    Ok(tensors)
}

/// Refuses what must not come to the reader of PyTorch files: in an archive of `tar`, a hole of any size is read as zeros.
pub fn check_pytorch_file(path: &Path) -> Result<()> {
    if !path.is_file() {
        return Err(Error::weights(path, "there is no such file"));
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(Error::io("read", path))?;
    file.take((TAR_MAGIC_AT + TAR_MAGIC.len()) as u64).read_to_end(&mut start).map_err(Error::io("read", path))?;
    if start.get(TAR_MAGIC_AT..) == Some(TAR_MAGIC) && !start.starts_with(b"PK") {
        let reason = "it is a tar archive, as PyTorch wrote before 2017; load it in PyTorch and save it again";
        return Err(Error::weights(path, reason));
    }
    Ok(())
}

const TAR_MAGIC: &[u8] = b"ustar";
const TAR_MAGIC_AT: usize = 257;

/// Refuses tensors of these sizes when a file claims more than it can hold, before they are read.
pub fn check_weight_bytes(path: &Path, sizes: impl Iterator<Item = usize>) -> Result<()> {
    let size = sizes.fold(0, |sum: u64, bytes| sum.saturating_add(bytes as u64));
    let file_bytes = fs::metadata(path).map_err(Error::io("read", path))?.len();
    let most = MAX_WEIGHT_BYTES.min(file_bytes.saturating_mul(MAX_EXPANSION));
    if size > most {
        return Err(Error::weights(
            path,
            format!("its weights would take {size} bytes; at most {most} are read of it"),
        ));
    }
    Ok(())
}
