# Reads the reports of a compiled target and writes result_<target>.json; compile.tcl calls it:
#
#   quartus_sta -t report.tcl target
#
# What of this has not been tried is told in Spiccato's docs/boards.md, "What was not tried".

cd [file dirname [file normalize [info script]]]
source settings.tcl
source result.tcl
load_package report

set target [lindex $quartus(args) 0]
project_open spiccato -revision $target
load_report $target

# The worst slack of all corners.
array set worst {setup "" hold ""}
create_timing_netlist
read_sdc
foreach_in_collection corner [get_available_operating_conditions] {
    set_operating_conditions $corner
    update_timing_netlist
    foreach check {setup hold} {
        foreach_in_collection path [get_timing_paths -$check -npaths 1] {
            set slack [get_path_info $path -slack]
            if {$worst($check) eq "" || $slack < $worst($check)} {
                set worst($check) $slack
            }
        }
    }
}
delete_timing_netlist

# A row of the fitter's resource usage summary, by a pattern of its name.
proc usage {pattern} {
    if {[catch {get_fitter_resource_usage -resource $pattern} cell]} {
        puts stderr "report.tcl: no row $pattern in the fitter's resource usage: $cell"
        return ""
    }
    return [first_number $cell]
}

write_result $target $quartus(version) $worst(setup) $worst(hold) [list \
    logic [first_number [get_fitter_resource_usage -alm]] \
    registers [usage "*Dedicated logic registers*"] \
    dsp [usage "*DSP Blocks Needed*"] \
] [list m20k [usage "*M20K*"]]

unload_report
project_close
