//! Writing: whole files or none, and text to standard output.

use std::io::{self, Write};
use std::path::Path;

use super::Failure;

/// Writes a file whole: into a neighbour first, which then takes its place. Links are followed, and
/// what is no regular file (`/dev/stdout`, a pipe) is written to and not replaced.
pub(super) fn write_file(path: &Path, contents: &str) -> Result<(), Failure> {
    let name = |error: io::Error| format!("`{}` can't be written: {error}", path.display());
    let written = match std::fs::metadata(path) {
        Ok(existing) if !existing.is_file() => std::fs::write(path, contents),
        Ok(_) => path
            .canonicalize()
            .and_then(|path| replace(&path, contents)),
        Err(_) => replace(path, contents),
    };
    Ok(written.map_err(name)?)
}

fn replace(path: &Path, contents: &str) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = folder.unwrap_or(Path::new("."));
    let neighbour = folder.join(format!(".{file_name}.{}.partial", std::process::id()));
    let written =
        std::fs::write(&neighbour, contents).and_then(|()| std::fs::rename(&neighbour, path));
    if written.is_err() {
        // The first error is the one to tell; a neighbour that never came to be needs no removal.
        let _ = std::fs::remove_file(&neighbour);
    }
    written
}

/// Prints text on standard output, coloured where that is wanted.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stream = anstream::stdout();
    told(
        stream
            .write_all(text.as_bytes())
            .and_then(|()| stream.flush()),
    )
}

/// Prints a remark on standard error.
pub(super) fn remark(text: &str) -> Result<(), Failure> {
    told(writeln!(anstream::stderr(), "{text}"))
}

/// Whoever stopped reading (`shardplan … | head`) has enough of it, and the answer is what it is.
fn told(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("the answer can't be written: {error}").into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
