# Makes a Vivado project of the accelerator within a processor system, implements it, and writes a device image
# (project/spiccato.runs/impl_1/*.pdi) and result_device_image.json:
#
#   vivado -mode batch -source device_image.tcl
#
# The processor system's first clock is the accelerator's. Its AXI port reaches the accelerator's registers and a FIFO
# for the two streams, 32 bits wide, so that software on the card or a debugger can run inferences; what the streams'
# tid and tuser are is written to, and read from, two words beside them. There is no PCIe:
# for that, connect the same three ports in the design that AMD provides for the card.
# What of this has not been tried is told in Spiccato's docs/boards.md, "What was not tried".

cd [file dirname [file normalize [info script]]]
source settings.tcl
source result.tcl
source report.tcl

create_project spiccato project -part $part -force
add_files -norecurse [concat $verilog_files card.v]
update_compile_order -fileset sources_1

create_bd_design system
proc ip {name core properties} {
    set cell [create_bd_cell -type ip -vlnv "xilinx.com:ip:$core:*" $name]
    if {[llength $properties] > 0} {
        set_property -dict $properties $cell
    }
}
ip cips versal_cips [list CONFIG.CLOCK_MODE Custom CONFIG.PS_PMC_CONFIG [list \
    PMC_CRP_PL0_REF_CTRL_FREQMHZ $target_mhz(device_image) PS_USE_PMCPL_CLK0 1 PS_NUM_FABRIC_RESETS 1 \
    PS_USE_M_AXI_FPD 1 PS_M_AXI_FPD_DATA_WIDTH 32]]
ip reset proc_sys_reset {}
ip interconnect smartconnect {CONFIG.NUM_SI 1 CONFIG.NUM_MI 3}
ip fifo axi_fifo_mm_s {CONFIG.C_USE_TX_CTRL 0 CONFIG.C_TX_FIFO_DEPTH 2048 CONFIG.C_RX_FIFO_DEPTH 2048}
ip words axi_gpio {CONFIG.C_GPIO_WIDTH 32 CONFIG.C_ALL_OUTPUTS 1 CONFIG.C_IS_DUAL 1 CONFIG.C_GPIO2_WIDTH 32 \
    CONFIG.C_ALL_INPUTS_2 1}
ip widen axis_dwidth_converter [list CONFIG.S_TDATA_NUM_BYTES 4 CONFIG.M_TDATA_NUM_BYTES $beat_bytes \
    CONFIG.HAS_TLAST 1]
ip narrow axis_dwidth_converter [list CONFIG.S_TDATA_NUM_BYTES $beat_bytes CONFIG.M_TDATA_NUM_BYTES 4 \
    CONFIG.HAS_TLAST 1 CONFIG.HAS_TKEEP 1]
create_bd_cell -type module -reference spiccato_card card

foreach {from to} {
    cips/M_AXI_FPD interconnect/S00_AXI
    interconnect/M00_AXI card/s_axil
    interconnect/M01_AXI fifo/S_AXI
    interconnect/M02_AXI words/S_AXI
    fifo/AXI_STR_TXD widen/S_AXIS
    widen/M_AXIS card/s_axis_input
    card/m_axis_output narrow/S_AXIS
    narrow/M_AXIS fifo/AXI_STR_RXD
} {
    connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $to]
}
connect_bd_net [get_bd_pins words/gpio_io_o] [get_bd_pins card/request]
connect_bd_net [get_bd_pins card/answer] [get_bd_pins words/gpio2_io_i]
foreach pin {
    cips/m_axi_fpd_aclk reset/slowest_sync_clk interconnect/aclk fifo/s_axi_aclk words/s_axi_aclk widen/aclk
    narrow/aclk card/aclk
} {
    connect_bd_net [get_bd_pins cips/pl0_ref_clk] [get_bd_pins $pin]
}
connect_bd_net [get_bd_pins cips/pl0_resetn] [get_bd_pins reset/ext_reset_in]
foreach pin {interconnect/aresetn fifo/s_axi_aresetn words/s_axi_aresetn widen/aresetn narrow/aresetn \
    card/aresetn} {
    connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins $pin]
}
assign_bd_address
validate_bd_design
save_bd_design

add_files -norecurse [make_wrapper -files [get_files system.bd] -top]
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1
generate_target all [get_files system.bd]
if {$floorplan} {
    add_files -fileset constrs_1 -norecurse floorplan.tcl
    set_property USED_IN implementation [get_files floorplan.tcl]
}
launch_runs impl_1 -to_step write_device_image
wait_on_runs impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
    puts stderr "device_image.tcl: implementation failed: see project/spiccato.runs"
    exit 1
}
open_run impl_1
report_result device_image
