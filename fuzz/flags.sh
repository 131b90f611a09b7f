# flags.sh: for run.sh and tests/faults/run.sh. Sets host. flags_for TARGET sets flags (of rustc) and features (of cargo).
# 9pmux's engine has no unsafe code: AddressSanitizer would find nothing there, and would
# make it six times slower.
host=$(rustc -vV | sed -n 's/^host: //p')
asan=
if ls "$(rustc --print sysroot)/lib/rustlib/$host/lib/"librustc*_rt.asan.a >/dev/null 2>&1; then
	export MUX_FUZZ_ASAN=1 RUSTC_BOOTSTRAP=1
	asan=-Zsanitizer=address
else
	echo "# fuzz: this rustc has no AddressSanitizer: without" >&2
fi
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_stack_use_after_return=0:abort_on_error=1}"

flags_for() {
	flags='--cfg mux_fuzz -Cpasses=sancov-module'
	for option in level=4 inline-8bit-counters pc-table trace-compares; do
		flags="$flags -Cllvm-args=-sanitizer-coverage-$option"
	done
	case $1 in
	nine-*) features=nine ;;
	*) features='' flags="$flags $asan" ;;
	esac
}
