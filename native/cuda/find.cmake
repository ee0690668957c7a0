# Decides whether the CUDA backend can be built and for which GPUs. Sets cuda_found, and cuda_summary
# (what was found, with versions) or cuda_reason (what is missing, and how to get it); makes the
# target cuda_libraries.
set(cuda_found FALSE)
set(cuda_summary "")
set(cuda_reason "")
if(ONEHOUR_CUDA STREQUAL "OFF")
  return()
endif()

macro(onehour_no_cuda reason)
  set(cuda_reason "${reason}")
  if(ONEHOUR_CUDA STREQUAL "ON")
    message(FATAL_ERROR "${cuda_reason}")
  endif()
  return()
endmacro()

include(${CMAKE_CURRENT_LIST_DIR}/locate.cmake)
if(cuda_missing)
  onehour_no_cuda("the CUDA backend needs ${cuda_missing}.\n${cuda_advice}")
endif()

# ---------------------------------------------------------------------------------- architectures
# Compute capabilities that are built for, as far as this compiler knows them; the last one also as
# PTX, which the driver translates for later GPUs. By default they are those of the GPUs here, and all
# where there is none, as when a container is built.
include(${CMAKE_CURRENT_LIST_DIR}/gpus.cmake)
set(capabilities 80 86 89 90 100 120)
execute_process(COMMAND ${cuda_nvcc} --list-gpu-arch OUTPUT_VARIABLE known ERROR_QUIET)
string(REGEX MATCHALL "[0-9]+" known "${known}")
list(SORT known COMPARE NATURAL)
foreach(capability ${capabilities})
  if(NOT capability IN_LIST known)
    list(REMOVE_ITEM capabilities ${capability})
  endif()
endforeach()
set(asked "${ONEHOUR_CUDA_ARCHITECTURES}")
if(NOT asked)
  set(asked "$ENV{ONEHOUR_CUDA_ARCHITECTURES}")
endif()
string(REGEX REPLACE "[, ]+" ";" asked "${asked}")
string(REPLACE "." "" asked "${asked}")
if(asked STREQUAL "native")
  set(asked ${gpu_capabilities})
  if(NOT asked)
    onehour_no_cuda("ONEHOUR_CUDA_ARCHITECTURES is native, but nvidia-smi finds no GPU here; \
name compute capabilities, for example ONEHOUR_CUDA_ARCHITECTURES=80,90")
  endif()
elseif(NOT asked)
  # A GPU that this compiler does not know runs what is made for the last one before it.
  foreach(gpu ${gpu_capabilities})
    set(serving "")
    foreach(capability ${known})
      if(capability GREATER_EQUAL 80 AND capability LESS_EQUAL gpu)
        set(serving ${capability})
      endif()
    endforeach()
    list(APPEND asked ${serving})
  endforeach()
endif()
if(NOT asked OR asked STREQUAL "all")
  set(asked ${capabilities})
endif()
list(REMOVE_DUPLICATES asked)
foreach(capability ${asked})
  if(NOT capability IN_LIST known OR capability LESS 80)
    list(JOIN known ", " known)
    onehour_no_cuda("ONEHOUR_CUDA_ARCHITECTURES names ${capability}; expected compute capabilities \
from 80 that ${cuda_nvcc} knows, which are ${known}")
  endif()
endforeach()
list(SORT asked COMPARE NATURAL)
list(GET asked -1 newest)
list(TRANSFORM asked APPEND "-real" OUTPUT_VARIABLE CMAKE_CUDA_ARCHITECTURES)
list(APPEND CMAKE_CUDA_ARCHITECTURES ${newest}-virtual)

# --------------------------------------------------------------------------------------- compiler
# Tried by hand: enable_language ends the whole configuration where the compiler does not work, for
# example because it is too old for the system's C++ compiler.
set(trial ${CMAKE_BINARY_DIR}/cuda-trial)
if(NOT CMAKE_CUDA_COMPILER)
  file(WRITE ${trial}/trial.cu "#include <vector>\n__global__ void kernel() {}\n")
  set(host "")
  if(DEFINED ENV{CUDAHOSTCXX})
    set(host -ccbin $ENV{CUDAHOSTCXX})
  endif()
  execute_process(COMMAND ${cuda_nvcc} ${host} -std=c++20 -arch=sm_${newest} -c trial.cu -o trial.o
                  WORKING_DIRECTORY ${trial} RESULT_VARIABLE failed
                  OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(failed)
    string(STRIP "${output}" output)
    string(SUBSTRING "${output}" 0 1000 output)
    onehour_no_cuda("the CUDA compiler ${cuda_nvcc} does not work here:\n${output}\n\
Install a C++ compiler that it takes and name it with CUDAHOSTCXX, or a newer CUDA toolkit")
  endif()
  set(CMAKE_CUDA_COMPILER ${cuda_nvcc})
endif()
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # unknown to CMake 3.25
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()
find_package(CUDAToolkit QUIET)
if(NOT TARGET CUDA::cudart_static)
  onehour_no_cuda("the CUDA toolkit of ${cuda_nvcc} is incomplete: libcudart_static.a is missing.\n\
Install the whole toolkit")
endif()

# -------------------------------------------------------------------------------------- libraries
add_library(cuda_libraries INTERFACE)
foreach(library cudnn nccl cublasLt)
  target_include_directories(cuda_libraries SYSTEM INTERFACE ${cuda_${library}_include})
  target_link_libraries(cuda_libraries INTERFACE ${cuda_${library}_library})
endforeach()
# cuDNN opens NVRTC by name when it compiles a plan: it is loaded beforehand, wherever it lies.
target_link_libraries(cuda_libraries INTERFACE -Wl,--push-state,--no-as-needed
                                               ${cuda_nvrtc_library} -Wl,--pop-state)
list(TRANSFORM asked PREPEND sm_ OUTPUT_VARIABLE targets)
list(JOIN targets " " targets)
set(cuda_found TRUE)
string(CONCAT cuda_summary
       "CUDA ${cuda_nvcc_version}, cuDNN ${cuda_cudnn_version}, NCCL ${cuda_nccl_version}, "
       "cuBLAS ${cuda_cublasLt_version}, ${targets}")
