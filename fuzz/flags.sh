# flags.sh: sets host, and flags, with which rustc makes a target: read by run.sh and faults.sh.
host=$(rustc -vV | sed -n 's/^host: //p')
flags='--cfg mux_fuzz'
if ls "$(rustc --print sysroot)/lib/rustlib/$host/lib/"librustc*_rt.asan.a >/dev/null 2>&1; then
	export MUX_FUZZ_ASAN=1 RUSTC_BOOTSTRAP=1
	flags="$flags -Zsanitizer=address"
else
	echo "# fuzz: this rustc has no AddressSanitizer: without" >&2
fi
flags="$flags -Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
	flags="$flags -Cllvm-args=-sanitizer-coverage-$option"
done
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_stack_use_after_return=0:abort_on_error=1}"
