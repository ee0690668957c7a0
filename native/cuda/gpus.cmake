# The compute capabilities of this machine's GPUs, as 80 or 90, each once, in `gpu_capabilities`; empty where
# nvidia-smi finds none. As a script (cmake -P) it prints them.
execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
                TIMEOUT 60 RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_QUIET)
set(gpu_capabilities "")
if(failed STREQUAL "0") # without a driver it prints versions, and fails
  string(REGEX MATCHALL "[0-9]+\\.[0-9]+" gpu_capabilities "${output}")
  string(REPLACE "." "" gpu_capabilities "${gpu_capabilities}")
  list(REMOVE_DUPLICATES gpu_capabilities)
endif()
if(CMAKE_SCRIPT_MODE_FILE AND gpu_capabilities)
  list(JOIN gpu_capabilities "," output)
  execute_process(COMMAND ${CMAKE_COMMAND} -E echo "${output}")
endif()
