# Packs the core for the IP integrator: vivado -mode batch -source package.tcl -tclargs TOP PART
# Leaves the folder ip, which goes into a project's ip_repo_paths.

lassign $argv top part
create_project -force -in_memory -part $part
read_verilog $top.v
set_property top $top [current_fileset]
update_compile_order -fileset sources_1

ipx::package_project -root_dir ip -vendor firecore -library user -taxonomy /UserIP \
    -import_files -force
set core [ipx::current_core]
set_property name $top $core
set_property display_name "firecore" $core
set_property description "Accelerator for SqueezeNet-class networks" $core
set_property version 1.0 $core
set_property supported_families \
    {zynq Production artix7 Production kintex7 Production virtex7 Production} $core

# Names and attributes of the ports say most of it; what follows must be there.
foreach bus {m_axi s_axi} {
    if {[llength [ipx::get_bus_interfaces $bus -of_objects $core]] != 1} {
        error "no bus interface $bus was found"
    }
    ipx::associate_bus_interfaces -busif $bus -clock aclk $core
}
foreach map [ipx::get_memory_maps -of_objects $core] {
    foreach block [ipx::get_address_blocks -of_objects $map] {
        set_property range 4096 $block
        set_property usage register $block
    }
}
ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
