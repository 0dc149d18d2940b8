# Bitstream by Vivado: vivado -mode batch -source vivado.tcl -tclargs TOP PART
# Leaves TOP.bit and TOP.bin, the project in the folder vivado, reports in the folder reports.
# Ends with status 1, and without a bitstream, if timing is not met.

lassign $argv top part
file mkdir reports
create_project -force $top vivado -part $part
add_files [glob *.v]
read_xdc $top.xdc
foreach file [lsort [glob *.xdc]] {
    if {$file ne "$top.xdc"} { read_xdc $file }
}
synth_design -top $top -part $part

# First flip-flops of synchronisers. From a pin: any delay. From another clock: less than a period
# of either, so that Gray-coded pointers stay Gray-coded on their way.
foreach cell [get_cells -quiet -hierarchical -filter {amaranth.vivado.false_path == "TRUE"}] {
    set starts [all_fanin -quiet -flat -startpoints_only [get_pins $cell/D]]
    set from [get_clocks -quiet -of_objects $starts]
    set to [get_clocks -quiet -of_objects [get_pins $cell/C]]
    if {[llength $from] == 1 && [llength $to] == 1} {
        set period [expr {min([get_property PERIOD $from], [get_property PERIOD $to])}]
        set_max_delay -datapath_only -from $from -to $cell $period
    } else {
        set_false_path -to $cell
    }
}
set resets [get_cells -quiet -hierarchical -filter {amaranth.vivado.false_path_pre == "TRUE"}]
if {[llength $resets]} {
    set_false_path -to [get_pins -of_objects $resets -filter {REF_PIN_NAME == PRE}]
}
set_property CFGBVS VCCO [current_design]
set_property CONFIG_VOLTAGE 3.3 [current_design]
set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]
report_utilization -hierarchical -file reports/synthesis.rpt

opt_design
place_design
phys_opt_design
route_design
phys_opt_design
write_checkpoint -force reports/routed.dcp
report_utilization -file reports/utilisation.rpt
report_timing_summary -max_paths 10 -file reports/timing.rpt
report_cdc -details -file reports/crossings.rpt
report_drc -file reports/drc.rpt

foreach check {setup hold} {
    set slack [get_property SLACK [get_timing_paths -$check]]
    puts "$check slack: $slack ns"
    if {$slack < 0} {
        puts stderr "error: timing is not met: $check slack $slack ns, see reports/timing.rpt"
        exit 1
    }
}
write_bitstream -force -bin_file $top.bit
