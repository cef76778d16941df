#!/usr/bin/env bash
# Prints the instructions that the erasure code takes on a Cortex-M4, counted in an emulator: bash firmware/fec-cost/run.sh
# Needs qemu-system-arm and a compiler for thumbv7em-none-eabihf: rustup's target, or Debian's rustc-web, cargo-web,
# rust-web-src and lld. Says SKIPPED where they are missing.
set -euo pipefail
cd "$(dirname "$0")"
target=thumbv7em-none-eabihf
command -v qemu-system-arm >/dev/null || { echo "SKIPPED: no qemu-system-arm"; exit 0; }
if command -v rustup >/dev/null && rustup target list --installed | grep -qx "$target"; then
  cargo build --release --quiet --target "$target"
elif [ -x /usr/bin/cargo ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ] && command -v ld.lld >/dev/null; then
  RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER=ld.lld \
    /usr/bin/cargo build --release --quiet --target "$target" -Zbuild-std=core
else
  echo "SKIPPED: no compiler for $target (rustup target add $target)"
  exit 0
fi
timeout 300 qemu-system-arm -cpu cortex-m4 -machine mps2-an386 -icount shift=0 -nographic \
  -semihosting-config enable=on,target=native -kernel "${CARGO_TARGET_DIR:-target}/$target/release/fec-cost"
