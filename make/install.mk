# Installation.

# With PLAN9=dir on the command line, into a plan9port tree (tools/plan9port.sh). PLAN9 in the environment is
# ignored, because every user of plan9port sets it there.
INTO_PLAN9 := $(if $(filter command,$(origin PLAN9)),$(PLAN9))
ifneq ($(INTO_PLAN9),)
# With 9PSERVE=1, 9pmux also takes the place of the tree's 9pserve.
INTO_9PSERVE := $(if $(filter 1,$(9PSERVE)),$(B)/9pmux)
install: lib $(INTO_9PSERVE)
	sh tools/plan9port.sh install '$(PLAN9)' $(B)/libmux.a include/mux.h $(INTO_9PSERVE)

uninstall:
	sh tools/plan9port.sh uninstall '$(PLAN9)'
else
install: install-lib install-9pmux
uninstall: uninstall-lib uninstall-9pmux

install-lib: lib
	$(INSTALL) -d '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCLUDEDIR)' '$(DESTDIR)$(MANDIR)/man3'
	$(INSTALL) -m 644 $(B)/libmux.a '$(DESTDIR)$(LIBDIR)/libmux.a'
	strip --strip-debug '$(DESTDIR)$(LIBDIR)/libmux.a'
	$(INSTALL) -m 755 -s $(B)/libmux.so '$(DESTDIR)$(LIBDIR)/$(REAL)'
	ln -sf $(REAL) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libmux.so'
	$(INSTALL) -m 644 include/mux.h '$(DESTDIR)$(INCLUDEDIR)/mux.h'
	printf '%s\n' 'libdir=$(LIBDIR)' 'includedir=$(INCLUDEDIR)' '' \
		'Name: mux' 'Description: protocol multiplexor' 'Version: $(VERSION)' \
		'Libs: -L$${libdir} -lmux' 'Libs.private: -pthread' 'Cflags: -I$${includedir}' \
		>'$(DESTDIR)$(LIBDIR)/pkgconfig/mux.pc'
	$(INSTALL) -m 644 man/mux.3 '$(DESTDIR)$(MANDIR)/man3/mux.3'

uninstall-lib:
	sh tools/uninstall.sh '$(DESTDIR)$(LIBDIR)/libmux.a' '$(DESTDIR)$(LIBDIR)/libmux.so' '$(DESTDIR)$(LIBDIR)/$(SONAME)' \
		'$(DESTDIR)$(LIBDIR)/$(REAL)' '$(DESTDIR)$(INCLUDEDIR)/mux.h' \
		'$(DESTDIR)$(LIBDIR)/pkgconfig/mux.pc' '$(DESTDIR)$(MANDIR)/man3/mux.3'

install-9pmux: $(B)/9pmux $(COMPLETIONS)
	$(INSTALL) -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(MANDIR)/man1'
	$(INSTALL) -m 755 -s $(B)/9pmux '$(DESTDIR)$(BINDIR)/9pmux'
	$(INSTALL) -m 644 9pmux/man/9pmux.1 '$(DESTDIR)$(MANDIR)/man1/9pmux.1'
	$(foreach shell,$(SHELLS),$(INSTALL) -D -m 644 $(B)/completions/$(shell) '$(DESTDIR)$(DATADIR)/$(SHELL_$(shell))' &&) true
	$(INSTALL) -d '$(DESTDIR)$(UNITDIR)'
	$(INSTALL) -m 644 9pmux/systemd/9pmux@.socket '$(DESTDIR)$(UNITDIR)'
	sed 's:/usr/bin/:$(BINDIR)/:' 9pmux/systemd/9pmux@.service >'$(DESTDIR)$(UNITDIR)/9pmux@.service'

uninstall-9pmux:
	sh tools/uninstall.sh '$(DESTDIR)$(BINDIR)/9pmux' '$(DESTDIR)$(MANDIR)/man1/9pmux.1' \
		'$(DESTDIR)$(UNITDIR)/9pmux@.socket' '$(DESTDIR)$(UNITDIR)/9pmux@.service' \
		$(foreach shell,$(SHELLS),'$(DESTDIR)$(DATADIR)/$(SHELL_$(shell))')
endif

.PHONY: install install-lib install-9pmux uninstall uninstall-lib uninstall-9pmux
