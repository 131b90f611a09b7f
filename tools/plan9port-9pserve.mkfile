# Installed by `make install PLAN9=... 9PSERVE=1`, which has moved plan9port's ../9pserve.c to 9pserve.c.orig.
#
# 9pmux does the work of 9pserve under that name; see 9pmux(1). install makes sure that both programs are the
# installed one. No target removes them.
<$PLAN9/src/mkhdr

install installall:VQ:
	for i in 9pmux 9pserve
	do
		cmp -s 9pmux.installed $PLAN9/bin/$i || { rm -f $PLAN9/bin/$i && cp 9pmux.installed $PLAN9/bin/$i; }
	done

default all clean nuke uninstall:VQ:
	true
