# Reads timing and utilisation of the open design and writes result_<target>.json; sourced by the other scripts.

# The cell "Used" of the first row of a utilisation report that has one of the names.
proc used {report names} {
    foreach line [split $report "\n"] {
        set cells [split $line "|"]
        if {[string trim [lindex $cells 1] " *"] in $names} {
            return [first_number [lindex $cells 2]]
        }
    }
    puts stderr "no row [join $names { or }] in the utilisation report"
    return ""
}

# The slack of the worst path of a check, "setup" or "hold"; empty if there is no timed path.
proc worst_slack {check} {
    set paths [get_timing_paths -$check -max_paths 1]
    if {[llength $paths] == 0} {
        return ""
    }
    return [get_property SLACK [lindex $paths 0]]
}

proc report_result {target} {
    set report [report_utilization -return_string]
    write_result $target [version -short] [worst_slack setup] [worst_slack hold] [list \
        logic [used $report {"CLB LUTs"}] \
        registers [used $report {Registers "CLB Registers"}] \
        dsp [used $report {"DSP Slices" DSPs}] \
    ] [list bram36 [used $report {"Block RAM Tile"}] uram [used $report {URAM}]]
}
