//! Debian's kernels: packages that apt fetches into a separate directory, without installing them.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{dist::Machine, sh};

/// Each kernel, and Debian's suite that has it.
pub(crate) const KERNELS: [(&str, &str); 4] =
    [("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "trixie"), ("7.2", "forky")];
/// The same for 64-bit Arm.
pub(super) const ARM: [(&str, &str); 1] = [("6.1", "bookworm")];
/// The kernels for testing drivers.
const FULL: [(&str, &str); 3] = [KERNELS[1], KERNELS[2], KERNELS[3]];
/// The package that a guest of the other architecture needs from that architecture.
const BUSYBOX: &str = "busybox-static";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Flavours of Debian's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// The smallest, for containers and cloud machines.
    Cloud,
    /// With the drivers of real machines.
    Full,
}

impl Flavour {
    /// Part of its packages' names, in front of the machine's name.
    fn suffix(self) -> &'static str {
        match self {
            Self::Cloud => "-cloud",
            Self::Full => "",
        }
    }

    /// Where the kernels are, below the directory of the virtual machines.
    pub(super) fn dir(self, vm: &Path) -> PathBuf {
        match self {
            Self::Cloud => vm.to_owned(),
            Self::Full => vm.join("full"),
        }
    }
}

/// The kernels for a machine.
pub(super) fn of(machine: Machine) -> &'static [(&'static str, &'static str)] {
    match machine {
        Machine::X86 => &KERNELS,
        Machine::Arm => &ARM,
    }
}

/// The kernels for testing drivers.
pub(super) fn full(machine: Machine) -> &'static [(&'static str, &'static str)] {
    match machine {
        Machine::X86 => &FULL,
        Machine::Arm => &[],
    }
}

/// A fetched kernel.
pub(super) struct Kernel {
    /// The user's name for it.
    pub(super) name: &'static str,
    /// Its release.
    pub(super) release: String,
    /// Its boot image.
    pub(super) image: PathBuf,
    /// The directory of its modules.
    pub(super) modules: PathBuf,
}

/// Finds a fetched kernel.
pub(super) fn find(vm: &Path, name: &'static str, suite: &str) -> Result<Kernel> {
    let root = vm.join(name).join("root");
    ensure!(root.is_dir(), "not fetched yet: run `cargo xtask setup --vm`");
    let modules = ["lib/modules", "usr/lib/modules"]
        .iter()
        .find_map(|dir| fs::read_dir(root.join(dir)).ok()?.flatten().next())
        .with_context(|| format!("the packages of {suite} hold no modules"))?
        .path();
    let release = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let places = [root.join("boot").join(format!("vmlinuz-{release}")), modules.join("vmlinuz")];
    let image = places.into_iter().find(|file| file.is_file());
    let image = image.with_context(|| format!("the packages of {suite} hold no kernel"))?;
    ensure!(release.starts_with(&format!("{name}.")), "{suite} has {release} now");
    Ok(Kernel { name, release, image, modules })
}

/// Fetches and unpacks the packages of a kernel.
pub(super) fn fetch(
    vm: &Path,
    machine: Machine,
    flavour: Flavour,
    name: &str,
    suite: &str,
) -> Result<()> {
    let dir = vm.join(name);
    let apt = Apt::new(&dir.join("apt"), suite, machine)?;
    let mut packages = apt.packages(flavour)?;
    if machine == Machine::Arm {
        packages.push(BUSYBOX.to_owned());
    }
    let debs = dir.join("debs");
    let _ = fs::remove_dir_all(&debs);
    fs::create_dir_all(&debs)?;
    sh::output(apt.command("apt-get").current_dir(&debs).arg("download").args(&packages))?;
    let partial = dir.join("partial");
    let _ = fs::remove_dir_all(&partial);
    for deb in fs::read_dir(&debs)? {
        sh::output(sh::clean("dpkg-deb").arg("-x").arg(deb?.path()).arg(&partial))?;
    }
    fs::remove_dir_all(&debs)?;
    let root = dir.join("root");
    let _ = fs::remove_dir_all(&root);
    fs::rename(&partial, &root)?;
    Ok(())
}

/// An apt with separate sources, lists and archives; the machine's are not touched.
struct Apt {
    dir: PathBuf,
    machine: Machine,
}

impl Apt {
    fn new(dir: &Path, suite: &str, machine: Machine) -> Result<Self> {
        ensure!(Path::new(KEYRING).is_file(), "{KEYRING}: not found (debian-archive-keyring)");
        fs::create_dir_all(dir.join("lists/partial"))?;
        fs::create_dir_all(dir.join("cache/archives/partial"))?;
        let (mirror, security) = mirrors();
        let mirror = mirror.context("apt on this machine names no mirror of Debian")?;
        let mut sources = format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        if let Some(security) = security {
            sources += &format!("deb [signed-by={KEYRING}] {security} {suite}-security main\n");
        }
        fs::write(dir.join("sources.list"), sources)?;
        let apt = Self { dir: dir.to_owned(), machine };
        let updated = sh::output(apt.command("apt-get").arg("update"));
        // The kernel may be in either of the two; whether it was found is checked below.
        if let Err(error) = updated {
            println!("{error:#}");
        }
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = sh::clean(program);
        let mut set = |name: &str, value: &str| {
            command.arg("-o").arg(format!("{name}={value}"));
        };
        let path = |name: &str| self.dir.join(name).display().to_string();
        set("Dir::Etc::SourceList", &path("sources.list"));
        set("Dir::Etc::SourceParts", "-");
        set("Dir::Etc::Preferences", "-");
        set("Dir::Etc::PreferencesParts", "-");
        set("Dir::State::Lists", &path("lists"));
        set("Dir::Cache", &path("cache"));
        set("APT::Sandbox::User", "");
        set("APT::Architecture", self.machine.debian());
        set("APT::Architectures", self.machine.debian());
        set("APT::Get::List-Cleanup", "0");
        set("APT::Update::Post-Invoke", "");
        set("Acquire::Languages", "none");
        set("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false");
        command
    }

    /// The package with the kernel, and those that newer suites have split from it.
    fn packages(&self, flavour: Flavour) -> Result<Vec<String>> {
        let mut ask = self.command("apt-cache");
        let end = format!("{}-{}", flavour.suffix(), self.machine.debian());
        let package = format!("linux-image{end}");
        ask.args(["depends", "--recurse", "--important", &package]);
        let packages = packages(&sh::output(&mut ask)?, &end);
        ensure!(!packages.is_empty(), "there is no {package}");
        Ok(packages)
    }
}

/// Where this machine gets Debian from: its packages, and their security updates.
pub(super) fn mirrors() -> (Option<String>, Option<String>) {
    let mut ask = sh::clean("apt-get");
    ask.args(["indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Identifier: Packages"]);
    let text = sh::output(&mut ask).unwrap_or_default();
    let labelled = |label: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix('|'));
        found.map(|mirror| mirror.trim_end_matches('/').to_owned())
    };
    (labelled("Debian"), labelled("Debian-Security"))
}

/// The dependencies that hold a kernel or its modules; `end` is the end of their names, such as
/// `-amd64`. A flavour comes before that: `-rt-amd64` is a different kernel.
fn packages(depends: &str, end: &str) -> Vec<String> {
    let parts = ["linux-image-", "linux-binary-", "linux-modules-"];
    let ours = |name: &&str| {
        let rest = parts.iter().find_map(|part| name.strip_prefix(*part)?.strip_suffix(end));
        let Some(version) = rest else { return false };
        let flavoured = version
            .rsplit('-')
            .next()
            .is_some_and(|last| last.starts_with(|c: char| c.is_ascii_alphabetic()));
        version.starts_with(|c: char| c.is_ascii_digit()) && !flavoured
    };
    depends.lines().filter(ours).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDS: &str = "linux-image-cloud-amd64\n  Depends: linux-image-7.2.12+deb14-cloud-amd64\n\
                           linux-image-7.2.12+deb14-cloud-amd64\n  Depends: kmod\nkmod\n\
                           linux-modules-7.2.12+deb14-cloud-amd64\nlinux-base-7.2.12+deb14-cloud-amd64\n\
                           linux-image-6.1.0-56-amd64\nlinux-image-6.1.0-56-rt-amd64\n";

    #[test]
    fn finds_the_packages_of_a_kernel() {
        let found = packages(DEPENDS, "-cloud-amd64");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|name| name.contains("7.2.12")), "{found:?}");
    }

    #[test]
    fn the_full_kernel_is_no_other_flavour() {
        assert_eq!(packages(DEPENDS, "-amd64"), ["linux-image-6.1.0-56-amd64"]);
    }
}
