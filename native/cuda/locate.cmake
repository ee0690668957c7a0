# Where the CUDA compiler and the libraries of the CUDA backend lie. Sets
#   cuda_nvcc, cuda_nvcc_version      the compiler; empty where there is none
#   cuda_<library>_{include,library,version}      for cudnn, nccl, cublasLt, nvrtc, where found
#   cuda_missing      what is not there, in words; empty when all of it is
#   cuda_advice       how to get it
# As a script (cmake -P) it prints "found 13" or "missing 13", the latter where libraries for that CUDA
# are missing, and nothing where there is no compiler.
cmake_minimum_required(VERSION 3.25)

# The oldest versions that this project is written for.
set(cuda_least 12.4)
set(cudnn_least 9.8)
set(nccl_least 2.20)

# ------------------------------------------------------------------------------------------- nvcc
file(GLOB toolkits /usr/local/cuda-*)
list(SORT toolkits COMPARE NATURAL ORDER DESCENDING)
set(toolkits $ENV{CUDA_HOME} $ENV{CUDA_PATH} PATH $ENV{CONDA_PREFIX} /usr/local/cuda ${toolkits})
set(cuda_nvcc ${CMAKE_CUDA_COMPILER})
if(NOT cuda_nvcc)
  set(cuda_nvcc $ENV{CUDACXX})
endif()
foreach(toolkit ${toolkits})
  if(NOT cuda_nvcc)
    if(toolkit STREQUAL PATH)
      find_program(cuda_program nvcc NO_CACHE)
    else()
      find_program(cuda_program nvcc PATHS ${toolkit}/bin NO_DEFAULT_PATH NO_CACHE)
    endif()
    if(cuda_program)
      set(cuda_nvcc ${cuda_program})
    endif()
    unset(cuda_program)
  endif()
endforeach()

set(cuda_nvcc_version "")
set(cuda_major "")
set(cuda_missing "")
set(cuda_advice "")
if(cuda_nvcc)
  execute_process(COMMAND ${cuda_nvcc} --version OUTPUT_VARIABLE output ERROR_QUIET)
  if(output MATCHES "release ([0-9]+)\\.([0-9]+)")
    set(cuda_major ${CMAKE_MATCH_1})
    set(cuda_nvcc_version ${CMAKE_MATCH_1}.${CMAKE_MATCH_2})
  endif()
  if(NOT cuda_nvcc_version)
    set(cuda_missing "a working CUDA compiler (${cuda_nvcc} does not print its version)")
  elseif(cuda_nvcc_version VERSION_LESS cuda_least)
    set(cuda_missing "CUDA ${cuda_least} or later (${cuda_nvcc} is of CUDA ${cuda_nvcc_version})")
  endif()
else()
  set(cuda_missing "the CUDA compiler, nvcc")
endif()
if(cuda_missing)
  string(CONCAT cuda_advice
         "Install NVIDIA's CUDA toolkit ${cuda_least} or later, or name its folder with CUDA_HOME")
  return()
endif()

# -------------------------------------------------------------------------------------- libraries
# Folders like nvidia/ among Python's packages, which hold one folder a library.
set(wheels "")
if(EXISTS "$ENV{ONEHOUR_CUDA_LIBRARIES}")
  list(APPEND wheels $ENV{ONEHOUR_CUDA_LIBRARIES})
endif()
set(cuda_cache $ENV{XDG_CACHE_HOME})
if(NOT cuda_cache)
  set(cuda_cache $ENV{HOME}/.cache)
endif()
set(cuda_cache ${cuda_cache}/onehour/cuda${cuda_major})
set(python $ENV{ONEHOUR_PYTHON})
if(NOT python)
  set(python python3)
endif()
execute_process(
  COMMAND ${python} -c "import os, sys
print(';'.join(p + '/nvidia' for p in sys.path if os.path.isdir(p + '/nvidia')))"
  OUTPUT_VARIABLE installed_wheels OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)

# Where a library may lie, in order; the folder that the user names for it comes first, then the
# cache, which scripts/setup fills for this compiler.
get_filename_component(toolkit ${cuda_nvcc} REALPATH)
get_filename_component(toolkit ${toolkit} DIRECTORY)
get_filename_component(toolkit ${toolkit} DIRECTORY)
cmake_host_system_information(RESULT processor QUERY OS_PLATFORM)
set(conda "")
if(DEFINED ENV{CONDA_PREFIX})
  set(conda $ENV{CONDA_PREFIX} $ENV{CONDA_PREFIX}/targets/${processor}-linux)
endif()
set(roots ${toolkit} ${toolkit}/targets/${processor}-linux $ENV{CUDA_HOME} $ENV{CUDA_PATH} ${conda}
          /usr/local/cuda /usr /usr/local)

# The other CUDA that the wheel next to `folder` is for, as in nvidia_nccl_cu12-2.30.7.dist-info; empty
# where it is for this one, or unknown. The names of the libraries' folders do not say.
function(onehour_other_cuda folder file result)
  set(other "")
  string(REGEX REPLACE "^lib([a-z]+).*" "\\1" library ${file})
  get_filename_component(packages ${folder} DIRECTORY)
  file(GLOB wheels RELATIVE ${packages} ${packages}/nvidia_${library}_cu*.dist-info)
  foreach(wheel ${wheels})
    if(wheel MATCHES "_cu${cuda_major}-")
      set(other "")
      break()
    elseif(wheel MATCHES "_cu([0-9]+)-")
      set(other ${CMAKE_MATCH_1})
    endif()
  endforeach()
  set(${result} "${other}" PARENT_SCOPE)
endfunction()

# One library: `header` is a file whose folder holds its version, as three macros that begin with
# `macro`; `folders` are its folders in wheels.
function(onehour_locate name title least file header macro)
  string(TOUPPER ${title} variable)
  set(places $ENV{${variable}_ROOT} $ENV{${variable}_HOME})
  set(refused "")
  foreach(folder ${wheels} ${cuda_cache}/nvidia ${roots} ${installed_wheels})
    if(folder MATCHES "/nvidia$" OR folder IN_LIST wheels)
      list(TRANSFORM ARGN PREPEND ${folder}/ OUTPUT_VARIABLE own)
      onehour_other_cuda(${folder} ${file} other)
      if(other)
        list(APPEND refused "for CUDA ${other} in ${folder}")
      else()
        list(APPEND places ${own})
      endif()
    else()
      list(APPEND places ${folder})
    endif()
  endforeach()
  foreach(place ${places})
    find_path(include ${header} PATHS ${place}/include ${place}/include/${processor}-linux-gnu
              NO_DEFAULT_PATH NO_CACHE)
    find_library(library ${file}
                 PATHS ${place}/lib64 ${place}/lib ${place}/lib/${processor}-linux-gnu
                 NO_DEFAULT_PATH NO_CACHE)
    if(include AND library)
      set(version ${cuda_major})
      if(macro)
        file(STRINGS ${include}/${header} lines REGEX "#define ${macro}_?(MAJOR|MINOR|PATCH)")
        string(REGEX REPLACE "[^;]*[^;0-9]([0-9]+)[^;]*" "\\1" version "${lines}")
        list(SUBLIST version 0 3 version)
        string(REPLACE ";" "." version "${version}")
      endif()
      if(version VERSION_LESS least)
        list(APPEND refused "${version}, too old, in ${place}")
      else()
        set(cuda_${name}_include ${include} PARENT_SCOPE)
        set(cuda_${name}_library ${library} PARENT_SCOPE)
        set(cuda_${name}_version ${version} PARENT_SCOPE)
        return()
      endif()
    endif()
    unset(include)
    unset(library)
  endforeach()
  set(text "${title} ${least} or later")
  if(refused)
    list(JOIN refused ", " refused)
    string(APPEND text " (passed over: ${refused})")
  endif()
  set(cuda_missing ${cuda_missing} ${text} PARENT_SCOPE)
endfunction()

onehour_locate(cudnn cuDNN ${cudnn_least} libcudnn.so.9 cudnn_version.h CUDNN_ cudnn)
onehour_locate(nccl NCCL ${nccl_least} libnccl.so.2 nccl.h NCCL_ nccl)
onehour_locate(cublasLt cuBLAS ${cuda_major} libcublasLt.so.${cuda_major} cublas_api.h CUBLAS_VER_
               cu${cuda_major} cublas)
onehour_locate(nvrtc NVRTC ${cuda_major} libnvrtc.so.${cuda_major} nvrtc.h "" cu${cuda_major}
               cuda_nvrtc)

set(state found)
if(cuda_missing)
  set(state missing)
  list(JOIN cuda_missing ", " cuda_missing)
  string(CONCAT cuda_advice
         "Get them from NVIDIA's packages, or as Python wheels:\n"
         "  python3 -m pip install --no-deps --target ${cuda_cache} "
         "-r ${CMAKE_CURRENT_LIST_DIR}/wheels-cuda${cuda_major}.txt\n"
         "or name their folders with CUDNN_ROOT, NCCL_ROOT, CUBLAS_ROOT and NVRTC_ROOT")
endif()
if(CMAKE_SCRIPT_MODE_FILE)
  execute_process(COMMAND ${CMAKE_COMMAND} -E echo "${state} ${cuda_major}")
endif()
