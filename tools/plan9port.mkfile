# Installed by `make install PLAN9=...` of the libmux that has muxversion(3); the original is mkfile.orig.
#
# plan9port's libmux is replaced by that library, which mk cannot compile: every target only makes sure
# that the archive and the header are the installed ones. clean and nuke leave them in place.
<$PLAN9/src/mkhdr

default all install installall:VQ:
	cmp -s libmux.a.installed $PLAN9/lib/libmux.a || cp libmux.a.installed $PLAN9/lib/libmux.a
	cmp -s mux.h.installed $PLAN9/include/mux.h || cp mux.h.installed $PLAN9/include/mux.h

clean nuke uninstall:VQ:
	true
