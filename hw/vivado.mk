
# make: TOP.bit by Vivado.
# make open: open/TOP.bit by Yosys, nextpnr-xilinx and Project X-Ray's tools.
# make program: the first into the board; make program-open: the second.
# The open tools' data are found through the variables below.
VIVADO ?= vivado
YOSYS ?= yosys
NEXTPNR_XILINX ?= nextpnr-xilinx
FASM2FRAMES ?= fasm2frames
XC7FRAMES2BIT ?= xc7frames2bit
OPENFPGALOADER ?= openFPGALoader
PRJXRAY_DB ?= /usr/share/nextpnr/prjxray-db
CHIPDB ?= /usr/share/nextpnr/xilinx-chipdb

SOURCES := $(wildcard *.v)
CONSTRAINTS := $(wildcard *.xdc)

.PHONY: all open program program-open clean
.DELETE_ON_ERROR:

all: $(TOP).bit

$(TOP).bit: vivado.tcl $(SOURCES) $(CONSTRAINTS)
	$(VIVADO) -mode batch -nojournal -log vivado.log -source vivado.tcl -tclargs $(TOP) $(PART)

open: open/$(TOP).bit

open/$(TOP).json: synth.ys $(SOURCES)
	mkdir -p open
	$(YOSYS) -q -l open/yosys.log synth.ys

# Fails if a clock misses its constraint.
open/$(TOP).fasm: open/$(TOP).json $(TOP).xdc
	$(NEXTPNR_XILINX) --chipdb $(CHIPDB)/$(OPEN_PART).bin --xdc $(TOP).xdc --json $< \
	    --freq $(MHZ) --log open/nextpnr.log --fasm $@

open/$(TOP).frames: open/$(TOP).fasm
	$(FASM2FRAMES) --part $(OPEN_PART) --db-root $(PRJXRAY_DB)/$(FAMILY) $< > $@

open/$(TOP).bit: open/$(TOP).frames
	$(XC7FRAMES2BIT) --part_file $(PRJXRAY_DB)/$(FAMILY)/$(OPEN_PART)/part.yaml \
	    --part_name $(OPEN_PART) --frm_file $< --output_file $@

program: $(TOP).bit
	$(OPENFPGALOADER) --board $(BOARD) $<

program-open: open/$(TOP).bit
	$(OPENFPGALOADER) --board $(BOARD) $<

clean:
	rm -rf $(TOP).bit $(TOP).bin vivado reports open vivado.log .Xil
