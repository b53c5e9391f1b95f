# Stands in for Vivado: runs the script that STUB_SCRIPT names. Each command does nothing but check that the files and
# the cells it is told of exist, and tell that it was called; reports are made up. STUB_FAIL, if set, fails the
# implementation.

proc call {args} {
    puts "CALL [join $args]"
}

proc need {file} {
    if {![file isfile $file]} {
        error "no such file: $file"
    }
}

foreach command {
    synth_design opt_design place_design phys_opt_design route_design write_checkpoint create_project
    update_compile_order create_bd_design connect_bd_intf_net connect_bd_net assign_bd_address validate_bd_design
    save_bd_design generate_target launch_runs wait_on_runs open_run set_property report_timing_summary
    create_pblock add_cells_to_pblock resize_pblock
} {
    proc $command {args} "call $command {*}\$args"
}

set sources {}

proc read_verilog {files} {
    add_files -norecurse $files
}

proc add_files {args} {
    global sources
    set files [lindex $args end]
    # A constraint is read by the implementation.
    if {"-fileset" in $args} {
        need $files
        call add_files {*}$args
        return
    }
    foreach file $files {
        if {$file ne "system_wrapper.v"} {
            need $file
        }
        lappend sources $file
    }
}

proc read_xdc {flag mode file} {
    need $file
    call read_xdc $mode $file
    uplevel #0 [list source $file]
}

proc create_clock {args} {
    call create_clock {*}$args
}

proc get_ports {name} {
    return $name
}

proc version {flag} {
    return 2024.1
}

proc report_utilization {args} {
    global env
    call report_utilization {*}$args
    return "
| Device       : xcv80-lsva4737-2MHP-e-S
+------------+--------+-------+------------+-----------+-------+
|  Site Type |  Used  | Fixed | Prohibited | Available | Util% |
+------------+--------+-------+------------+-----------+-------+
| Registers  | 233693 | 34745 |          0 |   5148416 |  4.54 |
| CLB LUTs   | 116420 | 22905 |          0 |   2574208 |  4.52 |
|   LUT as Logic | 99622 | 18725 |        0 |   2574208 |  3.87 |
| Block RAM Tile |  87.5 |     0 |        0 |      3741 |  2.33 |
| URAM       |     64 |     0 |          0 |      1925 |  0.00 |
| DSP Slices |    192 |     0 |          0 |     10848 |  0.00 |
"
}

proc get_timing_paths {check flag count} {
    return [list $check]
}

# -dict aside, of the objects that the scripts ask for.
proc get_property {name object} {
    global env
    switch $name {
        SLACK {
            return [expr {$object eq "-setup" ? -0.25 : 0.01}]
        }
        PROGRESS {
            return [expr {[info exists env(STUB_FAIL)] ? "42%" : "100%"}]
        }
    }
    error "no property $name"
}

set cells {}

# The texts of all sources.
proc texts {} {
    global sources
    set texts {}
    foreach file $sources {
        set handle [open $file]
        append texts [read $handle]
        close $handle
    }
    return $texts
}

# An instance by its own name, at any level, if the sources have it.
proc get_cells {quiet hierarchical name} {
    return [expr {[regexp "spiccato_core $name \\(" [texts]] ? "accelerator/$name" : ""}]
}

proc get_slrs {} {
    return {SLR2 SLR0 SLR1}
}

proc get_pblocks {name} {
    return $name
}

proc create_bd_cell {args} {
    global cells
    set name [lindex $args end]
    set at [lsearch -exact $args -reference]
    if {$at >= 0} {
        set module [lindex $args [expr {$at + 1}]]
        if {![regexp "module $module\\M" [texts]]} {
            error "no module $module among the sources"
        }
    }
    call create_bd_cell {*}$args
    lappend cells $name
    return $name
}

proc get_bd_pins {pin} {
    global cells
    if {[lindex [split $pin /] 0] ni $cells} {
        error "no cell for pin $pin"
    }
    return $pin
}

proc get_bd_intf_pins {pin} {
    return [get_bd_pins $pin]
}

proc get_files {name} {
    return $name
}

proc make_wrapper {flag file top} {
    return system_wrapper.v
}

proc current_fileset {} {
    return sources_1
}

proc get_runs {name} {
    return $name
}

source $env(STUB_SCRIPT)
