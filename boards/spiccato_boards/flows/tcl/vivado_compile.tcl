# Compiles the accelerator alone, out of context and without a project, and writes result_out_of_context.json:
#
#   vivado -mode batch -source compile.tcl
#
# What of this has not been tried is told in Spiccato's docs/boards.md, "What was not tried".

cd [file dirname [file normalize [info script]]]
source settings.tcl
source result.tcl
source report.tcl

file mkdir reports
read_verilog $verilog_files
read_xdc -mode out_of_context out_of_context.xdc
synth_design -top $top -part $part -mode out_of_context
if {$floorplan} {
    source floorplan.tcl
}
opt_design
place_design
phys_opt_design
route_design
write_checkpoint -force out_of_context.dcp
report_timing_summary -file reports/out_of_context_timing.rpt
report_utilization -hierarchical -file reports/out_of_context_utilization.rpt
report_result out_of_context
