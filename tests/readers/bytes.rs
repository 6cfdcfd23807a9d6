//! Weight files, byte by byte, as the formats lay them out.

/// Text as GGUF stores it: its length, then its bytes.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A metadata entry that is a `u32`.
pub(crate) fn number(key: &str, value: u32) -> Vec<u8> {
    [
        text(key),
        4u32.to_le_bytes().into(),
        value.to_le_bytes().into(),
    ]
    .concat()
}

/// A metadata entry that is an array which claims so many elements of a type, and these bytes.
pub(crate) fn array(key: &str, element: u32, length: u64, bytes: &[u8]) -> Vec<u8> {
    let mut entry = text(key);
    entry.extend([9u32, element].iter().flat_map(|n| n.to_le_bytes()));
    entry.extend(length.to_le_bytes());
    entry.extend(bytes);
    entry
}

/// A tensor of a GGUF header, its row length first.
pub(crate) fn tensor(name: &str, dims: &[u64], number: u32, offset: u64) -> Vec<u8> {
    let mut bytes = text(name);
    bytes.extend((dims.len() as u32).to_le_bytes());
    bytes.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
    bytes.extend(number.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

/// A GGUF file of version 3 with so many bytes of data.
pub(crate) fn gguf(entries: &[Vec<u8>], tensors: &[Vec<u8>], data: usize) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    let counts = [tensors.len() as u64, entries.len() as u64];
    bytes.extend(counts.iter().flat_map(|n| n.to_le_bytes()));
    bytes.extend(entries.concat());
    bytes.extend(tensors.concat());
    bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
    bytes
}

/// A safetensors file with this JSON text and so many bytes of data.
pub(crate) fn safetensors(json: &str, data: usize) -> Vec<u8> {
    let mut bytes = text(json);
    bytes.resize(bytes.len() + data, 0);
    bytes
}
